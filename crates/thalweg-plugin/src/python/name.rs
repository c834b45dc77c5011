//! Names of distributions as pip compares them, and names of environments as folders and sockets can bear them.

/// The one spelling of a distribution's name: lower case, with `-` for each run of `-`, `_` and `.`.
pub(crate) fn normal(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter {
            '-' | '_' | '.' if normal.ends_with('-') => {}
            '-' | '_' | '.' => normal.push('-'),
            other => normal.extend(other.to_lowercase()),
        }
    }
    normal
}

/// The name with which a requirement begins: `acme-math[fast] >= 1.2`.
pub(crate) fn of_requirement(requirement: &str) -> Result<&str, String> {
    let requirement = requirement.trim();
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let end = requirement.find(|letter| !is_part(letter)).unwrap_or(requirement.len());
    let name = &requirement[..end];
    // An option of pip, a path, or more than one line would be something else than a requirement.
    if !name.starts_with(|letter: char| letter.is_ascii_alphanumeric()) || requirement.contains(['\n', '\r'])
    {
        return Err(format!(
            "\"{requirement}\" is no requirement: write a name, and a version if need be, like acme-math==1.2.0"
        ));
    }
    Ok(name)
}

/// Name and version of a wheel by its file name: `acme_math-1.2.0-py3-none-any.whl`.
pub(crate) fn of_wheel(file: &str) -> Result<(String, String), String> {
    let parts: Vec<&str> = file.strip_suffix(".whl").unwrap_or_default().split('-').collect();
    let is_plain = !file.contains(['/', '\\', '\0']) && !file.starts_with('.');
    match parts[..] {
        [name, version, _, _, _] | [name, version, _, _, _, _] if is_plain && !name.is_empty() => {
            Ok((name.to_owned(), version.to_owned()))
        }
        _ => Err(format!(
            "\"{file}\" is no wheel's name: <name>-<version>-<python>-<abi>-<platform>.whl belongs there"
        )),
    }
}

/// Checks the name of an environment.
pub(crate) fn check_environment(name: &str) -> Result<(), String> {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric();
    let is_fit = name.starts_with(is_letter)
        && name.len() <= 32
        && name.chars().all(|letter| is_letter(letter) || letter == '-' || letter == '_');
    if is_fit {
        return Ok(());
    }
    Err(format!(
        "\"{name}\" cannot be an environment's name: use at most 32 letters, digits, - and _, and begin with a letter or digit"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_all_spellings_that_pip_takes_for_the_same() {
        for spelling in ["acme-math", "Acme_Math", "acme.math", "ACME-_.math"] {
            assert_eq!(normal(spelling), "acme-math");
        }
    }

    #[test]
    fn a_requirement_begins_with_a_name_and_is_no_option_of_pip() {
        assert_eq!(of_requirement(" acme_math[fast]>=1 ; python_version>'3'"), Ok("acme_math"));
        assert_eq!(of_requirement("a"), Ok("a"));
        for bad in ["", "--index-url=http://x", "./folder", "-r list", "a\n--index-url=x"] {
            assert!(of_requirement(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_wheel_says_its_name_and_version() {
        let wheel = of_wheel("acme_math-1.2.0-py3-none-any.whl");
        assert_eq!(wheel, Ok(("acme_math".to_owned(), "1.2.0".to_owned())));
        assert!(of_wheel("a-1-7-cp311-cp311-linux_x86_64.whl").is_ok());
        for bad in ["a.zip", "a-1.whl", "../a-1-py3-none-any.whl", "a-1-py3-none-any.tar.gz", ".whl"] {
            assert!(of_wheel(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_environments_name_stays_in_its_folder() {
        for good in ["default", "tw12x3", "a-b_C"] {
            assert_eq!(check_environment(good), Ok(()));
        }
        for bad in ["", "..", "a/b", "-a", "a b", &"x".repeat(33)] {
            assert!(check_environment(bad).is_err(), "{bad}");
        }
    }
}
