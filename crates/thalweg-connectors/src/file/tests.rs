//! Files on a real disk.

use std::path::Path;
use std::sync::Arc;

use thalweg_core::connector::{BuildCx, PullSource, Pulled, Sink, SinkPayload, SourceKind, SourcePort};
use thalweg_core::props::Props;
use thalweg_core::value::Value;

use super::{read, write};
use crate::testing::{Got, NoPort, TestPort, cx, row};

fn at(home: &Path, props: &str) -> BuildCx {
    BuildCx { home: home.to_owned(), ..cx(props) }
}

fn pulled(cx: &BuildCx) -> Box<dyn PullSource> {
    match read::build(cx).unwrap() {
        SourceKind::Pull { source, .. } => source,
        SourceKind::Push(_) => panic!("this is pulled"),
    }
}

async fn all(cx: &BuildCx, port: &Arc<TestPort>) -> Vec<Got> {
    let as_port: Arc<dyn SourcePort> = Arc::<TestPort>::clone(port);
    assert_eq!(pulled(cx).pull(&as_port).await.unwrap(), Pulled::End);
    let mut got = Vec::new();
    while port.queued() > 0 {
        got.push(port.next().await);
    }
    got
}

fn texts(got: &[Got]) -> Vec<String> {
    got.iter().map(|got| String::from_utf8(got.bytes.clone()).unwrap()).collect()
}

#[tokio::test]
async fn lines_are_payloads_and_some_may_be_skipped() {
    // S4.6.
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("in.txt"), "head\n{\"a\":1}\r\n{\"a\":2}\nfoot").unwrap();
    let props =
        r#"{"path":".","datasource":"in.txt","fileType":"lines","ignoreStartLines":1,"ignoreEndLines":1}"#;
    let got = all(&at(home.path(), props), &TestPort::new()).await;
    assert_eq!(texts(&got), [r#"{"a":1}"#, r#"{"a":2}"#]);
    let file = got[0].meta.as_ref().unwrap()["file"].clone();
    assert!(matches!(file, Value::Str(path) if path.ends_with("in.txt")));
}

#[tokio::test]
async fn a_json_file_is_one_payload_and_can_be_put_away() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("data")).unwrap();
    std::fs::write(home.path().join("data/in.json"), "[{\"a\":1}]").unwrap();
    let props = r#"{"datasource":"in.json","actionAfterRead":2,"moveTo":"done"}"#;
    let got = all(&at(home.path(), props), &TestPort::new()).await;
    assert_eq!(texts(&got), ["[{\"a\":1}]"]);
    assert!(home.path().join("done/in.json").exists() && !home.path().join("data/in.json").exists());
}

#[tokio::test]
async fn csv_rows_are_strings_by_name_and_bad_lines_are_counted() {
    // S4.5.
    let home = tempfile::tempdir().unwrap();
    let text = "id,name\n1, \"a, \"\"b\"\"\"\n2\nx\"y,3\n\"4\n5\",z,extra\n";
    std::fs::write(home.path().join("in.csv"), text).unwrap();
    let props = r#"{"path":".","datasource":"in.csv","fileType":"csv","hasHeader":true}"#;
    let port = TestPort::new();
    let got: Vec<_> =
        all(&at(home.path(), props), &port).await.into_iter().flat_map(|got| got.rows).collect();
    let expected =
        [row(r#"{"id":"1","name":"a, \"b\""}"#), row(r#"{"id":"2"}"#), row(r#"{"id":"4\n5","name":"z"}"#)];
    assert_eq!(got, expected);
    assert!(port.faults()[0].contains("bare quote in column 1"), "{:?}", port.faults());
    let unnamed =
        r#"{"path":".","datasource":"in.csv","fileType":"csv","ignoreStartLines":2,"ignoreEndLines":3}"#;
    let got = all(&at(home.path(), unnamed), &TestPort::new()).await;
    assert_eq!(got[0].rows, [row(r#"{"cols0":"2"}"#)]);
}

#[test]
fn what_cannot_be_read_is_refused() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("in.csv"), "").unwrap();
    for (props, message) in [
        (r#"{"path":".","datasource":"none"}"#, "none not exist"),
        (r#"{"path":"."}"#, "file source is missing property datasource"),
        (
            r#"{"path":".","datasource":"in.csv","fileType":"csv","decompression":"gzip"}"#,
            "decompression is not supported for csv file type",
        ),
    ] {
        let error = read::build(&at(home.path(), props)).err().expect(props);
        assert!(error.message.ends_with(message), "{}", error.message);
    }
}

#[tokio::test]
async fn a_folder_read_at_intervals_gives_only_newer_files() {
    // S4.4, R7.7.
    let home = tempfile::tempdir().unwrap();
    let props = r#"{"path":".","datasource":"","fileType":"lines","interval":"1s"}"#;
    std::fs::create_dir(home.path().join("in")).unwrap();
    std::fs::write(home.path().join("in/a"), "1").unwrap();
    let cx = at(home.path(), &props.replace("\"datasource\":\"\"", "\"datasource\":\"in\""));
    let mut source = pulled(&cx);
    let port = TestPort::new();
    let as_port: Arc<dyn SourcePort> = Arc::<TestPort>::clone(&port);
    assert_eq!(source.pull(&as_port).await.unwrap(), Pulled::More);
    let first = port.next().await;
    assert_eq!(first.bytes, b"1");
    assert_eq!(source.pull(&as_port).await.unwrap(), Pulled::More);
    assert_eq!(port.queued(), 0);
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    let file = std::fs::File::create(home.path().join("in/b")).unwrap();
    std::io::Write::write_all(&mut &file, b"2").unwrap();
    file.set_modified(later).unwrap();
    assert_eq!(source.pull(&as_port).await.unwrap(), Pulled::More);
    assert_eq!(port.next_text().await, "2");
    // A restart resumes behind what was read.
    let port = TestPort::resuming(first.offset);
    let as_port: Arc<dyn SourcePort> = Arc::<TestPort>::clone(&port);
    assert_eq!(pulled(&cx).pull(&as_port).await.unwrap(), Pulled::More);
    assert_eq!(port.next_text().await, "2");
    assert_eq!(port.queued(), 0);
}

#[tokio::test]
async fn after_a_restart_a_file_is_read_on_behind_the_line_of_the_checkpoint() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("in.csv");
    std::fs::create_dir(home.path().join("in")).unwrap();
    std::fs::write(&path, "a,b\n1,x\n2,\"y\nz\"\n3,w\n").unwrap();
    std::fs::copy(&path, home.path().join("in/one")).unwrap();
    let csv = r#"{"path":".","datasource":"NAME","fileType":"csv","hasHeader":true,"interval":"EVERY"}"#;
    for (name, every) in [("in.csv", "0s"), ("in", "1s")] {
        let cx = at(home.path(), &csv.replace("NAME", name).replace("EVERY", every));
        let port = TestPort::new();
        let as_port: Arc<dyn SourcePort> = Arc::<TestPort>::clone(&port);
        pulled(&cx).pull(&as_port).await.unwrap();
        let all = [port.next().await, port.next().await, port.next().await];
        for (read, got) in (1..).zip(&all) {
            let port = TestPort::resuming(got.offset.clone());
            let as_port: Arc<dyn SourcePort> = Arc::<TestPort>::clone(&port);
            pulled(&cx).pull(&as_port).await.unwrap();
            for later in &all[read..] {
                assert_eq!(port.next().await.rows, later.rows, "{name}, {read} lines read");
            }
            assert_eq!(port.queued(), 0, "{name}, {read} lines read");
        }
    }
    // Another file of that name is read from its beginning.
    let cx = at(home.path(), &csv.replace("NAME", "in.csv").replace("EVERY", "0s"));
    let port = TestPort::new();
    let as_port: Arc<dyn SourcePort> = Arc::<TestPort>::clone(&port);
    pulled(&cx).pull(&as_port).await.unwrap();
    let offset = port.next().await.offset;
    std::fs::write(home.path().join("other"), "a,b\n7,x\n8,y\n9,z\n").unwrap();
    std::fs::rename(home.path().join("other"), &path).unwrap();
    let port = TestPort::resuming(offset);
    let as_port: Arc<dyn SourcePort> = Arc::<TestPort>::clone(&port);
    pulled(&cx).pull(&as_port).await.unwrap();
    assert_eq!(port.next().await.rows, [row(r#"{"a":"7","b":"x"}"#)]);
}

#[tokio::test]
async fn a_watched_folder_gives_new_files_and_appended_lines_once() {
    // S4.3.
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("in");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a"), "1\n").unwrap();
    let cx = at(home.path(), r#"{"path":".","datasource":"in","fileType":"lines"}"#);
    let SourceKind::Push(source) = read::build(&cx).unwrap() else { panic!("watched") };
    let port = TestPort::new();
    let as_port: Arc<dyn SourcePort> = Arc::<TestPort>::clone(&port);
    let task = tokio::spawn(source.run(as_port));
    assert_eq!(port.next_text().await, "1");
    let mut appended = std::fs::OpenOptions::new().append(true).open(folder.join("a")).unwrap();
    std::io::Write::write_all(&mut appended, b"2\n").unwrap();
    assert_eq!(port.next_text().await, "2");
    std::fs::write(folder.join("b"), "3").unwrap();
    assert_eq!(port.next_text().await, "3");
    assert_eq!(port.queued(), 0);
    port.stop();
    task.await.unwrap().unwrap();
}

async fn written(home: &Path, props: &str, messages: &[(&'static str, Option<&str>)]) -> Box<dyn Sink> {
    let mut sink = write::build(&at(home, props)).unwrap();
    sink.open(Arc::new(NoPort)).await.unwrap();
    let payloads: Vec<_> = messages
        .iter()
        .map(|(text, path)| {
            let props = path.map(|path| {
                let mut props = Props::new();
                props.set("path", path);
                Arc::new(props)
            });
            SinkPayload::Bytes { payload: (*text).into(), props }
        })
        .collect();
    let written = sink.write(&payloads).await;
    assert_eq!(written.accepted, messages.len(), "{:?}", written.error);
    sink
}

fn content(home: &Path, name: &str) -> String {
    std::fs::read_to_string(home.join(name)).unwrap()
}

#[tokio::test]
async fn each_type_has_its_own_frame() {
    // D4.1.
    let home = tempfile::tempdir().unwrap();
    let (home, two) = (home.path(), [("x", None), ("y", None)]);
    let lines = written(home, r#"{"path":"out/a.txt"}"#, &two).await;
    assert_eq!(content(home, "out/a.txt"), "x\ny", "accepted is written");
    drop(lines);
    written(home, r#"{"path":"a.json","fileType":"json"}"#, &two).await.close().await.unwrap();
    assert_eq!(content(home, "a.json"), "[x,y]");
    let csv = r#"{"path":"a.csv","fileType":"csv","format":"delimited","hasHeader":true}"#;
    written(home, csv, &[("a,b\n1,2", None), ("a,b\n3,4\n5,6", None)]).await.close().await.unwrap();
    assert_eq!(content(home, "a.csv"), "a,b\n1,2\n3,4\n5,6");
}

#[tokio::test]
async fn rolling_never_loses_what_was_written() {
    // D4.3.
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let three = [("1", None), ("2", None), ("3", None)];
    written(home, r#"{"path":"same.txt","rollingCount":2}"#, &three).await.close().await.unwrap();
    assert_eq!(content(home, "same.txt"), "1\n2\n3");
    let stamped = r#"{"path":"s/out.json","fileType":"json","rollingCount":2,"rollingNamePattern":"suffix"}"#;
    written(home, stamped, &three).await.close().await.unwrap();
    let mut found: Vec<_> =
        std::fs::read_dir(home.join("s")).unwrap().map(|file| file.unwrap().path()).collect();
    found.sort();
    let texts: Vec<_> = found.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    assert_eq!(texts, ["[1,2]", "[3]"]);
    assert!(found[0].file_name().unwrap().to_str().unwrap().starts_with("out-"));
}

#[tokio::test]
async fn a_templated_path_writes_a_file_for_each_value() {
    // D4.4.
    let home = tempfile::tempdir().unwrap();
    let messages: Vec<_> = (0..600).map(|number| ("x", number)).collect();
    let names: Vec<_> = messages.iter().map(|(_, number)| format!("out/{}", number % 300)).collect();
    let messages: Vec<_> =
        messages.iter().zip(&names).map(|((text, _), name)| (*text, Some(name.as_str()))).collect();
    let mut sink = written(home.path(), r#"{"path":"out/{{.id}}"}"#, &messages).await;
    sink.close().await.unwrap();
    for number in 0..300 {
        assert_eq!(content(home.path(), &format!("out/{number}")), "x\nx", "{number}");
    }
}

#[test]
fn wrong_sinks_are_refused_with_upstreams_texts() {
    let home = tempfile::tempdir().unwrap();
    for (props, message) in [
        (r#"{"fileType":"csv"}"#, "format must be delimited when fileType is csv"),
        (r#"{"rollingCount":0}"#, "one of rollingInterval, rollingCount, or rollingSize must be set"),
        (r#"{"compression":"gzip"}"#, "file sink: compression is not supported yet"),
    ] {
        let error = write::build(&at(home.path(), props)).err().expect(props);
        assert_eq!(error.message, message);
    }
}
