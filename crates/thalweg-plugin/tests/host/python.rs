//! Distributions that pip installs (`portable-plugins.md` 11 and acceptance test 13), from wheels that are made here.

use std::fs;

use serde_json::json;
use thalweg_expr::registry::RemoteFunctions;
use thalweg_plugin::{Install, PythonError, What};

use crate::subject::*;
use crate::wheel::*;

#[test]
fn a_distribution_is_installed_upgraded_rolled_back_and_removed() {
    let yard = Yard::new();
    let f = yard.name("f");
    let changed = yard.install(&yard.constant("acme-math", "1.0", &f, "one")).unwrap();
    assert_eq!(changed.changes, [json!({"name": "acme-math", "from": null, "to": "1.0"})]);
    assert_eq!(changed.distributions[0]["functions"], json!([f]));
    assert_eq!(yard.says(&f).as_deref(), Ok("one"));
    // Who holds the function keeps it over the upgrade.
    let held = yard.bench.host.resolve(&f).unwrap().unwrap();
    let changed = yard.install(&yard.constant("acme-math", "2.0", &f, "two")).unwrap();
    assert_eq!(changed.changes, [json!({"name": "acme-math", "from": "1.0", "to": "2.0"})]);
    assert_eq!(call(&*held, &[]), Ok(thalweg_core::Value::text("two")));
    assert_eq!(yard.installed(), ["acme-math 2.0"]);
    yard.roll_back().unwrap();
    assert_eq!((yard.says(&f).as_deref(), yard.installed()), (Ok("one"), vec!["acme-math 1.0".to_owned()]));
    yard.roll_back().unwrap();
    assert_eq!(yard.says(&f).as_deref(), Ok("two"), "a second time leads forward again");
    assert!(yard.bench.host.list().is_empty(), "hosts are no portable plugins");
    assert!(yard.bench.host.describe(&format!("{}-host", yard.env)).is_none());
    assert_eq!(yard.bench.host.python().functions(), [(f.clone(), "acme-math".to_owned())]);
    let changed = yard.remove("Acme_Math", false).unwrap();
    assert_eq!(changed.changes, [json!({"name": "acme-math", "from": "2.0", "to": null})]);
    assert_eq!(yard.says(&f), Err("nobody offers it".to_owned()));
    let missing = yard.remove("acme-math", false);
    assert!(matches!(missing, Err(PythonError::NotFound(_))), "{missing:?}");
}

#[test]
fn a_broken_upgrade_leaves_the_old_version_running_and_says_why() {
    let yard = Yard::new();
    let f = yard.name("f");
    yard.install(&yard.constant("acme-math", "1.0", &f, "one")).unwrap();
    let pid = yard.list()["hosts"][0]["pid"].clone();
    let broken = Wheel::new("acme-math", "2.0")
        .entry("functions", &format!("{f} = acme_math:f"))
        .file("acme_math.py", "import no_such_module\n");
    let failed = yard.install(&broken).unwrap_err().to_string();
    assert!(
        failed.contains("acme-math 2.0") && failed.contains("No module named 'no_such_module'"),
        "{failed}"
    );
    let gone = Wheel::new("acme-math", "2.1")
        .entry("functions", &format!("{f} = acme_math:g"))
        .file("acme_math.py", "def f():\n    return 1\n");
    let failed = yard.install(&gone).unwrap_err().to_string();
    assert!(failed.contains("has no attribute 'g'"), "{failed}");
    let exits = Wheel::new("acme-math", "2.2").entry("functions", &format!("{f} = acme_math:f")).file(
        "acme_math.py",
        "import os, sys\nprint('no licence', file=sys.stderr, flush=True)\nos._exit(3)\n",
    );
    let failed = yard.install(&exits).unwrap_err().to_string();
    assert!(failed.contains("no licence"), "{failed}");
    // pip itself fails, half-way: the first requirement is there, the second is not.
    yard.constant("acme-base", "1.0", &yard.name("base"), "b").write(&yard.wheels());
    let unmet =
        yard.constant("acme-math", "3.0", &f, "three").requires("acme-base").requires("no-such-thing");
    let failed = yard.install(&unmet).unwrap_err().to_string();
    assert!(failed.contains("No matching distribution found for no-such-thing"), "{failed}");
    assert_eq!((yard.says(&f).as_deref(), yard.installed()), (Ok("one"), vec!["acme-math 1.0".to_owned()]));
    assert_eq!(yard.list()["hosts"][0]["pid"], pid, "not even its process has changed");
    let mut left: Vec<_> = fs::read_dir(yard.folder()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["current", "g1", "g2"]);
}

#[test]
fn an_environment_is_made_on_first_use_and_found_again_at_the_next_start() {
    let mut yard = Yard::empty(|_| {});
    let f = yard.name("f");
    yard.install(&yard.constant("acme-math", "1.0", &f, "one")).unwrap();
    assert_eq!(yard.says(&f).as_deref(), Ok("one"));
    // As if the engine had been killed while pip ran.
    let left = yard.folder().join("g9/lib");
    fs::create_dir_all(&left).unwrap();
    assert_eq!(yard.again(|_| {}), Vec::<String>::new());
    assert_eq!(yard.says(&f).as_deref(), Ok("one"));
    assert!(!left.exists());
    yard.roll_back().unwrap_err();
}

#[test]
fn what_rules_use_is_removed_only_by_force() {
    let yard = Yard::new();
    let (f, g) = (yard.name("f"), yard.name("g"));
    yard.install(&yard.constant("acme-math", "1.0", &f, "one")).unwrap();
    yard.rules.replace(vec!["r1".to_owned(), "r2".to_owned()]);
    let refused = yard.remove("acme-math", false).unwrap_err();
    let text = "acme-math is used by rules r1, r2: stop or delete them first, or add ?force=1";
    assert_eq!(refused, PythonError::InUse(text.to_owned()));
    // Another version must offer what rules use, too.
    let refused = yard.install(&yard.constant("acme-math", "2.0", &g, "two")).unwrap_err();
    assert!(matches!(&refused, PythonError::InUse(text) if text.contains(&f)), "{refused}");
    assert_eq!(yard.list()["distributions"][0]["rules"], json!(["r1", "r2"]));
    assert_eq!(yard.says(&f).as_deref(), Ok("one"));
    yard.remove("acme-math", true).unwrap();
    assert_eq!(yard.installed(), Vec::<String>::new());
}

#[test]
fn classes_that_extend_the_sdk_or_another_plugin_are_found_by_their_install_alone() {
    let yard = Yard::new();
    let base = yard.name("base");
    let namespaced = yard.name("Shouted");
    let wheel = Wheel::new("acme-base", "1.0").entry("functions", &format!("{base} = acme_base:Greeting")).file(
        "acme_base.py",
        "from thalweg_sdk import Function\n\n\nclass Greeting(Function):\n    word = 'hello'\n\n    def validate(self, args):\n        return ''\n\n    def exec(self, args, ctx):\n        return self.word\n\n    def is_aggregate(self):\n        return False\n",
    );
    yard.install(&wheel).unwrap();
    // It overrides a part of another distribution's class, requires the SDK, and registers nothing.
    let extension = Wheel::new("zeta-loud", "1.0").requires("acme-base").requires("thalweg-sdk").file(
        "thalweg/extensions/loud.py",
        &format!(
            "from acme_base import Greeting\n\n__all__ = ['Shouted']\n\n\nclass Shouted(Greeting):\n    name = '{namespaced}'\n    word = 'HELLO'\n"
        ),
    );
    yard.install(&extension).unwrap();
    let broken = Wheel::new("broken-one", "1.0")
        .file("thalweg/extensions/broken.py", "raise RuntimeError('no sensor')\n");
    let failed = yard.install(&broken).unwrap_err().to_string();
    assert!(failed.contains("no sensor"), "{failed}");
    assert_eq!((yard.says(&base).as_deref(), yard.says(&namespaced).as_deref()), (Ok("hello"), Ok("HELLO")));
    let shown = yard.bench.host.python().describe(&yard.env, "zeta_loud", &|_, _| Vec::new()).unwrap();
    assert_eq!(shown["functions"][0]["origin"], "namespace");
    assert!(shown["functions"][0]["extends"].as_array().unwrap().contains(&json!("acme_base:Greeting")));
    assert_eq!(shown["requires"], json!(["acme-base", "thalweg-sdk"]));
    // Without what it extends it cannot be loaded: that is refused.
    let refused = yard.remove("acme-base", false).unwrap_err().to_string();
    assert!(refused.contains("No module named 'acme_base'"), "{refused}");
}

#[test]
fn one_that_does_not_load_hides_no_other_and_reload_sees_what_pip_did_by_hand() {
    let yard = Yard::new();
    let (f, g) = (yard.name("f"), yard.name("g"));
    yard.install(&yard.constant("acme-math", "1.0", &f, "one")).unwrap();
    let by_hand = |wheel: &Wheel| {
        let path = wheel.write(&yard.wheels());
        let pip = std::process::Command::new(yard.folder().join("current/bin/python"))
            .args(["-m", "pip", "install", "--no-index", "--disable-pip-version-check"])
            .arg(path)
            .output()
            .unwrap();
        assert!(pip.status.success(), "{}", String::from_utf8_lossy(&pip.stderr));
    };
    by_hand(&yard.constant("acme-more", "1.0", &g, "more"));
    let reload = || yard.bench.host.python().reload(&yard.env, false, &|_, _| Vec::new());
    let changed = reload().unwrap();
    assert_eq!(changed.changes, [json!({"name": "acme-more", "from": null, "to": "1.0"})]);
    assert_eq!(yard.says(&g).as_deref(), Ok("more"));
    by_hand(
        &Wheel::new("broken-one", "1.0")
            .file("thalweg/extensions/broken.py", "raise RuntimeError('no sensor')\n"),
    );
    let refused = reload().unwrap_err().to_string();
    assert!(
        refused.contains("broken-one 1.0: thalweg.extensions.broken: RuntimeError: no sensor"),
        "{refused}"
    );
    assert_eq!((yard.says(&f).as_deref(), yard.says(&g).as_deref()), (Ok("one"), Ok("more")));
}

#[test]
fn after_a_start_one_that_does_not_load_is_listed_and_the_others_serve() {
    let mut yard = Yard::new();
    let f = yard.name("f");
    yard.install(&yard.constant("acme-math", "1.0", &f, "one")).unwrap();
    let site = fs::read_dir(yard.folder().join("current/lib")).unwrap().next().unwrap().unwrap().path();
    let info = site.join("site-packages/broken_one-1.0.dist-info");
    fs::create_dir_all(&info).unwrap();
    fs::write(info.join("METADATA"), "Metadata-Version: 2.1\nName: broken-one\nVersion: 1.0\n").unwrap();
    fs::write(info.join("entry_points.txt"), "[thalweg.sinks]\nx = no_such_module:X\n").unwrap();
    yard.again(|_| {});
    assert_eq!(yard.says(&f).as_deref(), Ok("one"));
    let broken = yard.list()["distributions"][1].clone();
    assert!(broken["errors"][0].as_str().unwrap().contains("no_such_module"), "{broken}");
}

#[test]
fn names_that_several_want_go_by_rank_and_by_preference() {
    let mut yard = Yard::new();
    let f = yard.name("f");
    yard.install(&yard.constant("b-one", "1.0", &f, "b")).unwrap();
    let changed = yard.install(&yard.constant("c-two", "1.0", &f, "c")).unwrap();
    assert!(changed.warnings[0].contains(&format!("function {f} of c-two is not used: b-one has the name")));
    let changed = yard.install(&yard.constant("a-three", "1.0", "avg", "a")).unwrap();
    assert!(
        changed.warnings.iter().any(|text| text.contains("function avg of a-three")),
        "{:?}",
        changed.warnings
    );
    assert_eq!(yard.says(&f).as_deref(), Ok("b"));
    let conflicts = yard.bench.host.python().conflicts();
    assert_eq!(conflicts[0]["winner"], json!({"builtin": true}));
    assert_eq!(conflicts[1]["losers"][0]["distribution"], "c-two");
    // A zip plugin goes before both, until it is gone.
    let mut zip = Subject::misbehave();
    zip.manifest["functions"] = json!([f]);
    yard.bench.install(&zip);
    assert!(yard.bench.host.python().functions().is_empty());
    assert_eq!(yard.bench.host.python().conflicts()[1]["winner"], json!({"plugin": zip.name}));
    yard.bench.host.delete(&zip.name).unwrap();
    assert_eq!(yard.says(&f).as_deref(), Ok("b"));
    let name = f.clone();
    yard.again(move |config| drop(config.python.prefer.insert(name, "C_two".to_owned())));
    assert_eq!(yard.says(&f).as_deref(), Ok("c"));
}

#[test]
fn requests_that_make_no_sense_are_refused_and_change_nothing() {
    let yard = Yard::empty(|_| {});
    let refused = |request: &Install, part: &str| {
        let error = yard.run(request).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        assert!(!yard.folder().exists(), "{part}");
    };
    refused(&yard.request(What::Package("--index-url=http://x".to_owned())), "is no requirement");
    refused(&yard.request(What::Url("http://x/a.zip".to_owned())), "is no wheel's name");
    refused(&yard.request(What::Editable("somewhere".to_owned())), "absolute path");
    refused(&yard.request(What::Nothing), "nothing to install");
    let elsewhere = Install { env: "../x".to_owned(), ..yard.request(What::Package("a".to_owned())) };
    refused(&elsewhere, "cannot be an environment's name");
    let of_none = Install { distribution: Some("a".to_owned()), ..yard.request(What::Newest) };
    refused(&of_none, "there is no environment");
}

#[test]
fn an_interpreter_without_venv_is_told_with_the_package_to_install() {
    let folder = tempfile::tempdir().unwrap();
    let fake = folder.path().join("python");
    fs::write(&fake, "#!/bin/sh\necho 'The virtual environment was not created successfully because ensurepip is not available.'\nexit 1\n").unwrap();
    let made = std::process::Command::new("chmod").arg("755").arg(&fake).status().unwrap();
    assert!(made.success());
    let yard = Yard::empty(|config| config.python_bin = fake.display().to_string());
    let error = yard.run(&yard.request(What::Package("a".to_owned()))).unwrap_err().to_string();
    assert!(error.contains("install the package python3-venv"), "{error}");
    let yard = Yard::empty(|config| config.python_bin = "/no/such/python".to_owned());
    let error = yard.run(&yard.request(What::Package("a".to_owned()))).unwrap_err().to_string();
    assert!(error.contains("cannot find the Python interpreter /no/such/python"), "{error}");
    assert!(!yard.folder().exists());
}
