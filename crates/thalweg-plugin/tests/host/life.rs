//! Installing, updating, removing; the life of processes; two engines.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use thalweg_core::Value;
use thalweg_expr::registry::RemoteFunctions;
use thalweg_plugin::{HostConfig, InstallRequest, PluginError, PluginHost};

use crate::subject::*;

fn refused(bench: &Bench, subject: &Subject) -> String {
    bench.host.install(&subject.request(bench.home.path())).unwrap_err().to_string()
}

/// All files below a folder, but the zips, the bundled SDK and the list of sockets.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "sdk" {
            found.extend(files(&path));
        } else if path.is_file()
            && entry.file_name() != "plugin-sockets"
            && path.extension().is_none_or(|end| end != "zip")
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn a_wrong_package_is_refused_with_its_reason_and_leaves_nothing_behind() {
    let bench = Bench::new(&Sdk::Bundled);
    let good = Subject::echo();
    let name = &good.name;
    let wrong = |change: fn(&mut Subject)| {
        let mut subject = good.clone();
        change(&mut subject);
        refused(&bench, &subject)
    };
    let outside = refused(&bench, &good.clone().file("../../escaped.txt", "x"));
    assert_eq!(
        outside,
        "fail to install plugin: invalid entry ../../escaped.txt: it would leave the plugin's folder"
    );
    let absolute = refused(&bench, &good.clone().file("/tmp/escaped.txt", "x"));
    assert!(absolute.contains("invalid entry /tmp/escaped.txt"), "{absolute}");
    let symbols = refused(&bench, &good.clone().file("sources/../../escaped.txt", "x"));
    assert!(symbols.contains("it would leave the plugin's folder"), "{symbols}");
    let yaml = refused(&bench, &good.clone().without(&format!("sources/{name}_count.yaml")));
    assert_eq!(yaml, format!("fail to install plugin: missing sources/{name}_count.yaml"));
    let script = refused(&bench, &good.clone().without(&format!("{name}.py")));
    assert_eq!(script, format!("fail to install plugin: missing {name}.py"));
    let none = wrong(|subject| subject.manifest = json!(null));
    assert_eq!(
        none,
        format!("fail to install plugin: missing or invalid json file {name}.json, found 2 files in total")
    );
    let other = wrong(|subject| subject.manifest["name"] = json!("other"));
    assert_eq!(
        other,
        format!("fail to install plugin: invalid plugin, expect name '{name}' but got 'other'")
    );
    let language = wrong(|subject| subject.manifest["language"] = json!("cobol"));
    assert_eq!(language, "fail to install plugin: invalid plugin, language 'cobol' is not supported");
    let install = refused(&bench, &good.clone().file("install.sh", "echo out; echo err >&2; exit 3"));
    assert_eq!(install, "fail to install plugin: err:exit status: 3 stdout:out\n stderr:err\n");
    let broken = wrong(|subject| subject.files[0].1 = b"import no_such_module_anywhere".to_vec());
    assert!(
        broken.contains("exit code 1: ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        "{broken}"
    );
    assert_eq!(files(bench.home.path()), [] as [String; 0]);
    assert_eq!((bench.host.list(), bench.host.names()), (vec![], vec![]));
    assert!(!Path::new(&format!("/tmp/plugin_{name}.ipc")).exists());
    // And after all that it can be installed.
    bench.install(&good);
}

#[test]
fn a_wrong_request_is_refused_with_upstreams_text() {
    let bench = Bench::new(&Sdk::Bundled);
    let request = |name: &str, file: &str| InstallRequest {
        name: name.into(),
        file: file.into(),
        ..Default::default()
    };
    let install = |name: &str, file: &str| bench.host.install(&request(name, file)).unwrap_err().to_string();
    assert_eq!(install(" ", "file:///x.zip"), "invalid name : should not be empty");
    assert_eq!(install("p", "x.tar"), "invalid uri x.tar");
    assert!(install("../p", "file:///x.zip").starts_with("invalid name ../p"));
    let missing = install("p", "file:///nowhere/x.zip");
    assert!(missing.starts_with("fail to download file file:///nowhere/x.zip: "), "{missing}");
    fs::write(bench.home.path().join("no.zip"), "no zip").unwrap();
    let no_zip = install("p", &format!("file://{}", bench.home.path().join("no.zip").display()));
    assert!(no_zip.starts_with("fail to install plugin: the file is not a zip archive"), "{no_zip}");
    assert_eq!(bench.host.delete("p"), Err(PluginError::NotFound("p".to_owned())));
    assert_eq!(bench.host.describe("p"), None);
    assert!(bench.host.status("p").is_none());
    let subject = Subject::echo();
    bench.install(&subject);
    assert_eq!(refused(&bench, &subject), format!("invalid name {}: duplicate", subject.name));
}

#[test]
fn a_package_comes_over_http_and_its_script_gets_its_arguments() {
    let bench = Bench::new(&Sdk::Bundled);
    let subject = Subject::echo()
        .file("install.sh", "echo \"$PWD $1 $2\" > told; mkdir -p deep/er")
        .file("deep/er/x", "1");
    let mut request = subject.request(bench.home.path());
    let zip = fs::read(request.file.trim_start_matches("file://")).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    request.file = format!("http://{}/p.zip", listener.local_addr().unwrap());
    request.shell_paras = Some(vec!["a b".to_owned(), "c".to_owned()]);
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", zip.len()).unwrap();
        stream.write_all(&zip).unwrap();
    });
    bench.host.install(&request).unwrap();
    let dir = bench.home.path().join("plugins/portable").join(&subject.name);
    assert_eq!(fs::read_to_string(dir.join("told")).unwrap(), format!("{} a b c\n", dir.display()));
    let yaml = format!("sources/{}_count.yaml", subject.name);
    assert!(
        bench.home.path().join("etc").join(&yaml).exists()
            && bench.home.path().join("data").join(&yaml).exists()
    );
    let info = bench.host.describe(&subject.name).unwrap();
    assert_eq!(info.executable, dir.join(format!("{}.py", subject.name)).display().to_string());
    bench.host.delete(&subject.name).unwrap();
    assert_eq!(files(bench.home.path()), [] as [String; 0]);
}

#[test]
fn a_script_that_does_not_end_is_ended() {
    let bench = Bench::with(&Sdk::Bundled, |config| config.install_timeout = Duration::from_millis(100));
    let error = refused(&bench, &Subject::echo().file("install.sh", "sleep 1000"));
    assert_eq!(error, "fail to install plugin: install.sh did not end within 100ms");
}

#[test]
fn a_symbol_that_another_plugin_owns_is_refused_unless_it_is_to_be_replaced() {
    let bench = Bench::new(&Sdk::Bundled);
    let first = bench.install(&Subject::echo());
    let mut second = Subject::misbehave();
    second.manifest["functions"] = json!([format!("{first}_echo"), format!("{}_do", second.name)]);
    let error = refused(&bench, &second);
    assert_eq!(
        error,
        format!("fail to install plugin: function {first}_echo belongs to plugin {first} already")
    );
    let mut request = second.request(bench.home.path());
    request.replace = true;
    bench.host.install(&request).unwrap();
    assert_eq!(bench.host.resolve(&format!("{first}_echo")).unwrap().unwrap().host(), second.name);
}

#[test]
fn an_update_changes_the_process_under_a_rule_and_a_failed_one_does_not() {
    on_both(|sdk| {
        let bench = Bench::new(&sdk);
        let mut subject = Subject::echo();
        let name = bench.install(&subject);
        let echo = bench.host.resolve(&format!("{name}_echo")).unwrap().unwrap();
        let ask = || call(&*echo, &[Value::text("x")]);
        assert_eq!(ask(), Ok(Value::text("x")));
        let good = subject.files[0].1.clone();
        subject.files[0].1 = b"raise SystemExit('broken')".to_vec();
        let error = bench.host.update(&subject.request(bench.home.path())).unwrap_err().to_string();
        assert!(error.contains("exit code 1: broken"), "{error}");
        bench.host.resolve(&format!("{name}_echo")).unwrap();
        assert_eq!(ask(), Ok(Value::text("x")), "the version before is back");
        assert_eq!(bench.host.list()[0].version, "v1.0.0");
        let text = String::from_utf8(good).unwrap().replace("return args[0] if", "return [args[0]] if");
        subject.files[0].1 = text.into_bytes();
        subject.manifest["version"] = json!("v2");
        bench.host.update(&subject.request(bench.home.path())).unwrap();
        assert_eq!(ask(), Ok(Value::list(vec![Value::text("x")])));
        assert_eq!(bench.host.list()[0].version, "v2");
    });
}

#[test]
fn after_a_delete_calls_fail_until_the_plugin_is_installed_again() {
    on_both(|sdk| {
        let bench = Bench::new(&sdk);
        let subject = Subject::echo();
        let name = bench.install(&subject);
        let echo = bench.host.resolve(&format!("{name}_echo")).unwrap().unwrap();
        let pid = bench.host.status(&name).unwrap().pid.unwrap();
        bench.host.delete(&name).unwrap();
        assert!(!is_alive(pid));
        assert_eq!(bench.host.status(&name).unwrap().status, "stop");
        let error = call(&*echo, &[Value::Int(1)]).unwrap_err();
        assert_eq!(error, format!("call func {name}_echo error: no plugin offers function {name}_echo"));
        assert!(bench.host.resolve(&format!("{name}_echo")).unwrap().is_none());
        for socket in ["plugin_{}.ipc", "func_{}_echo.ipc"] {
            assert!(!Path::new("/tmp").join(socket.replace("{}", &name)).exists());
        }
        bench.install(&subject);
        assert_eq!(call(&*echo, &[Value::Int(1)]), Ok(Value::Float(1.0)));
    });
}

#[test]
fn the_status_begins_as_upstreams_and_goes_on_with_ours() {
    let bench = Bench::new(&Sdk::Bundled);
    let name = bench.install(&Subject::misbehave());
    let text = serde_json::to_string(&bench.host.status(&name).unwrap()).unwrap();
    assert!(text.starts_with(r#"{"refCount":{},"status":"running","errMsg":"","pid":"#), "{text}");
}

#[test]
fn what_is_installed_runs_after_a_boot_and_the_first_owner_of_a_name_keeps_it() {
    let bench = Bench::new(&Sdk::Bundled);
    let first = bench.install(&Subject::echo());
    // A second plugin with the same function, and a folder that is no plugin, put there by hand.
    let portable = bench.home.path().join("plugins/portable");
    let second = format!("z{first}");
    fs::create_dir_all(portable.join(&second)).unwrap();
    fs::create_dir_all(portable.join("empty")).unwrap();
    let json = json!({"language": "python", "executable": "x.py", "functions": [format!("{first}_echo")]});
    fs::write(portable.join(&second).join(format!("{second}.json")), json.to_string()).unwrap();
    let script =
        format!("import ekuiper\nekuiper.plugin.start(ekuiper.PluginConfig({second:?}, {{}}, {{}}, {{}}))\n");
    fs::write(portable.join(&second).join("x.py"), script).unwrap();
    bench.host.shutdown();
    // A socket that a killed engine has left.
    let stale = Path::new("/tmp").join(format!("func_{first}_who.ipc"));
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let host = PluginHost::new(HostConfig::in_home(bench.home.path()), bench.registry.clone());
    let problems = host.start_all();
    assert!(!stale.exists());
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("cannot read") && problems[0].contains("empty.json"), "{problems:?}");
    assert_eq!(problems[1], format!("plugin {second}: function {first}_echo belongs to plugin {first}"));
    // It waits for the handshake.
    let echo = host.resolve(&format!("{first}_echo")).unwrap().unwrap();
    assert_eq!(call(&*echo, &[Value::Int(7)]), Ok(Value::Float(7.0)));
    assert_eq!(host.list().len(), 2);
}

#[test]
fn a_plugin_that_never_says_hello_fails_in_time_and_holds_up_nobody() {
    on_both(|sdk| {
        let bench = Bench::with(&sdk, |config| config.init_timeout = Duration::from_secs(3));
        let hanging = Subject::misbehave().file("hang", "");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| refused(&bench, &hanging));
            eventually("it has started", || {
                bench.host.status(&hanging.name).is_some_and(|status| status.pid.is_some())
            });
            bench.install(&Subject::misbehave());
            assert!(!waiting.is_finished(), "the second was installed while the first still hung");
            assert_eq!(
                waiting.join().unwrap(),
                format!(
                    "fail to install plugin: plugin {} is not running (no handshake within 3000ms)",
                    hanging.name
                )
            );
        });
        assert_eq!(bench.host.list().len(), 1);
    });
}

#[test]
fn a_missing_interpreter_is_named() {
    let bench = Bench::with(&Sdk::Bundled, |config| config.python_bin = "no-such-python".to_owned());
    let error = refused(&bench, &Subject::echo());
    assert!(error.contains("cannot find the Python interpreter no-such-python; install python3"), "{error}");
}

#[test]
fn a_shutdown_leaves_no_process_no_child_and_no_socket() {
    on_both(|sdk| {
        let bench = Bench::new(&sdk);
        let name = bench.install(&Subject::misbehave());
        let child = bench.call(&format!("{name}_do"), &[Value::text("child")]);
        let Ok(Value::Float(child)) = child else { panic!("{child:?}") };
        assert!(is_alive(child as u32));
        let pid = bench.host.status(&name).unwrap().pid.unwrap();
        bench.host.shutdown();
        assert!(!is_alive(pid));
        eventually("its child has gone", || !is_alive(child as u32));
        for socket in ["plugin_{}.ipc", "func_{}_do.ipc"] {
            assert!(!Path::new("/tmp").join(socket.replace("{}", &name)).exists());
        }
    });
}
