//! `thalweg plugin pack`: a zip of a folder that engines will take, or a wheel of a project.

use std::path::{Path, PathBuf};
use std::process::Command;

use thalweg_expr::registry::builtin;
use thalweg_plugin::Bundle;

use super::{Failure, PackArgs, Scratch, interpreter};
use crate::yaml;

pub(super) fn run(args: &PackArgs) -> Result<String, Failure> {
    let folder = args.folder.as_path();
    if !folder.is_dir() {
        return Err(Failure::Usage(format!("there is no folder {}", folder.display())));
    }
    if is_project(folder) {
        let target = args.to.clone().unwrap_or_else(|| folder.join("dist"));
        return keep(folder, &target, args);
    }
    let bundle = bundle(folder)?;
    let target = args.to.clone().unwrap_or_else(|| folder.join(format!("{}.zip", bundle.name())));
    write(&bundle, &target)?;
    let files: String = bundle.paths().map(|path| format!("  {}\n", path.display())).collect();
    let name = if target.file_stem().is_some_and(|stem| stem == bundle.name()) {
        String::new()
    } else {
        format!(" --name {}", bundle.name())
    };
    Ok(format!("{}\n{files}install it with: thalweg plugin install {0}{name}\n", target.display()))
}

/// Builds a wheel and puts it into a folder.
fn keep(folder: &Path, target: &Path, args: &PackArgs) -> Result<String, Failure> {
    let scratch = Scratch::new()?;
    let built = wheel(folder, &scratch.0, args.python.as_ref())?;
    let wheel = target.join(built.file_name().unwrap_or_default());
    let copied = std::fs::create_dir_all(target).and_then(|()| std::fs::copy(&built, &wheel));
    copied.map_err(|why| Failure::Refused(format!("cannot write {}: {why}", wheel.display())))?;
    Ok(format!("{}\ninstall it with: thalweg plugin install {0}\n", wheel.display()))
}

/// Whether a folder is a distribution for pip.
pub(super) fn is_project(folder: &Path) -> bool {
    folder.join("pyproject.toml").is_file()
}

/// The name of a distribution in the making: that in the table `project` of its pyproject.toml.
pub(super) fn project_name(folder: &Path) -> Result<String, Failure> {
    let path = folder.join("pyproject.toml");
    let wrong = |why: &dyn std::fmt::Display| Failure::Refused(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(&path).map_err(|why| wrong(&why))?;
    let project = text.split("[project]").nth(1).unwrap_or_default();
    let project = project.split("\n[").next().unwrap_or_default();
    let name =
        project.lines().find_map(|line| line.trim().strip_prefix("name")?.trim_start().strip_prefix('='));
    let name = name.map(|name| name.split('#').next().unwrap_or_default().trim().trim_matches(['"', '\'']));
    name.map(str::to_owned).ok_or_else(|| wrong(&"there is no name in its table [project]"))
}

/// A folder that has passed all checks; what is wrong is said line by line.
pub(super) fn bundle(folder: &Path) -> Result<Bundle, Failure> {
    let bundle = Bundle::read(folder).map_err(|problems| wrong(folder, &problems))?;
    let mut problems: Vec<String> = bundle
        .functions()
        .iter()
        .filter(|name| builtin(name).is_some())
        .map(|name| {
            format!("the function {name} would never be called: SQL has a built-in function of this name")
        })
        .collect();
    problems.extend(bundle.defaults().into_iter().filter_map(|path| yaml::read(path).err()));
    if problems.is_empty() { Ok(bundle) } else { Err(wrong(folder, &problems)) }
}

fn wrong(folder: &Path, problems: &[String]) -> Failure {
    let text = match problems {
        [only] => format!("{}: {only}", folder.display()),
        many => format!("{}: {} things are wrong\n  {}", folder.display(), many.len(), many.join("\n  ")),
    };
    Failure::Refused(text)
}

/// Writes the zip.
pub(super) fn write(bundle: &Bundle, target: &Path) -> Result<(), Failure> {
    if target.extension().is_none_or(|extension| extension != "zip") {
        return Err(Failure::Usage(format!("{} must end in .zip, or no engine takes it", target.display())));
    }
    bundle.write(target).map_err(|why| Failure::Refused(format!("cannot write {}: {why}", target.display())))
}

/// Has pip build the wheel of a project in an empty folder; the file. It works on a copy: setuptools leaves a folder
/// `build` behind, of which later wheels would take what is long gone.
pub(super) fn wheel(project: &Path, scratch: &Path, python: Option<&PathBuf>) -> Result<PathBuf, Failure> {
    let python = interpreter(python)?;
    let (folder, into) = (scratch.join("project"), scratch.join("wheel"));
    copy(project, &folder)
        .map_err(|why| Failure::Refused(format!("cannot copy {}: {why}", project.display())))?;
    let mut command = Command::new(&python);
    command.args(["-m", "pip", "wheel", "--no-deps", "--quiet", "--disable-pip-version-check", "-w"]);
    let output = command.arg(&into).arg(&folder).output();
    let output = output.map_err(|why| Failure::Refused(format!("cannot run {}: {why}", python.display())))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let advice = if said.contains("No module named pip") {
            "; sudo apt-get install -y python3-pip, or name an interpreter that has pip with --python"
        } else {
            ""
        };
        return Err(Failure::Refused(format!(
            "pip cannot build {}{advice}:\n{}",
            project.display(),
            said.trim()
        )));
    }
    let files = std::fs::read_dir(into).into_iter().flatten().flatten().map(|file| file.path());
    let mut wheels = files.filter(|path| path.extension().is_some_and(|extension| extension == "whl"));
    wheels.next().ok_or_else(|| {
        Failure::Refused(format!("pip has built no wheel of {}:\n{}", project.display(), said.trim()))
    })
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        let shown = name.to_string_lossy();
        let is_built = is_project(from) && ["build", "dist"].contains(&&*shown);
        if is_built
            || shown.starts_with('.')
            || shown.ends_with(".egg-info")
            || path.join("pyvenv.cfg").is_file()
        {
            continue;
        }
        if path.is_dir() {
            copy(&path, &to.join(name))?
        } else {
            std::fs::copy(&path, to.join(name)).map(drop)?
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_project_is_that_of_its_table() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let write =
            |text: &str| std::fs::write(folder.path().join("pyproject.toml"), text).expect("it is ours");
        write(
            "[tool.x]\nname = \"wrong\"\n[project]\nversion = \"1\"\nname = 'acme-math' # a remark\n[other]\n",
        );
        assert_eq!(project_name(folder.path()), Ok("acme-math".to_owned()));
        write("[project]\nversion = \"1\"\n[other]\nname = \"wrong\"\n");
        let failure = project_name(folder.path()).expect_err("there is no name");
        assert!(failure.text().ends_with("there is no name in its table [project]"), "{failure:?}");
    }
}
