//! `rest-api.md` 9 beyond single calls: uploads, and what outlives the instance.

use super::client::{Answer, Instance};

const BOOK: &str = "syntax = \"proto3\"; message Book {}";

fn part(field: &str, file_name: &str, content: &str) -> String {
    let file_name = if file_name.is_empty() { String::new() } else { format!("; filename=\"{file_name}\"") };
    format!("--cut\r\ncontent-disposition: form-data; name=\"{field}\"{file_name}\r\n\r\n{content}\r\n")
}

async fn form(instance: &Instance, path: &str, parts: &[String]) -> (Answer, Option<String>) {
    let url = format!("http://127.0.0.1:{}{path}", instance.port());
    let body = format!("{}--cut--\r\n", parts.concat());
    let sent = tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let request = agent.put(&url).header("content-type", "multipart/form-data; boundary=cut");
        let mut answer = request.send(body).expect("an answer");
        let header =
            |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (content_type, place) = (header("content-type").unwrap_or_default(), header("location"));
        let status = answer.status().as_u16();
        let body = answer.body_mut().read_to_string().expect("text");
        (Answer { status, content_type, body }, place)
    });
    sent.await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_brings_a_schema_that_outlives_the_instance() {
    let instance = Instance::start().await;
    let path = "/schemas/protobuf/u1/upload";
    let file = || part("file", "any.proto", BOOK);
    let (answer, place) = form(&instance, path, &[file(), part("version", "", "1")]).await;
    assert_eq!((answer.status, answer.content_type.as_str()), (201, "application/json"));
    assert_eq!(answer.body, r#"{"type":"protobuf","name":"u1"}"#);
    assert_eq!(place.as_deref(), Some("/schemas/protobuf/u1"));
    assert_eq!(form(&instance, path, &[file(), part("version", "", "2")]).await.0.status, 200);
    for (parts, why) in [
        (vec![], "Invalid multipart body: file field is required"),
        (vec![file(), file()], "Invalid multipart body: file field must appear exactly once"),
        (
            vec![file(), part("version", "", "3"), part("version", "", "3")],
            "Invalid multipart body: version field must not be repeated",
        ),
        (
            vec![file(), part("version", "", &"1".repeat(5000))],
            "Invalid multipart body: version field is too large",
        ),
        (vec![file(), part("version", "", "../1")], "schema upload command error: invalid version"),
        (
            vec![file(), part("version", "", "1")],
            "schema upload command error: schema protobuf.u1 already registered with a newer version 2",
        ),
        (vec![part("file", "u1.proto", "message {")], "schema upload command error: "),
        (
            vec![part("file", "u1.zip", "no zip"), part("version", "", "3")],
            "schema upload command error: it is no zip file",
        ),
    ] {
        let (answer, _) = form(&instance, path, &parts).await;
        assert_eq!((answer.status, answer.content_type.as_str()), (400, "application/json"), "{answer:?}");
        assert!(
            answer.json()["message"].as_str().is_some_and(|text| text.starts_with(why)),
            "{why}: {answer:?}"
        );
        assert!(answer.body.ends_with('}'), "{answer:?}");
    }
    let (answer, _) = form(&instance, "/schemas/avro/u1/upload", &[file()]).await;
    assert_eq!((answer.status, &answer.json()["message"]), (400, &"unsupported schema type avro".into()));
    let (answer, _) = form(&instance, "/schemas/protobuf/a.b/upload", &[file()]).await;
    assert!(answer.status == 400 && answer.body.contains("invalid characters"), "{answer:?}");
    let instance = instance.restart().await;
    let shown = instance.get("/schemas/protobuf/u1").await;
    let file = instance.home().join("data/schemas/protobuf/u1@2.proto");
    let expected = format!(
        r#"{{"type":"protobuf","name":"u1","content":{},"file":"{}","version":"2"}}"#,
        serde_json::Value::from(BOOK),
        file.display()
    );
    assert_eq!((shown.status, shown.body.as_str()), (200, expected.as_str()));
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_many_make_at_once_is_made_once() {
    let instance = Instance::start().await;
    let body = serde_json::json!({"name": "s", "content": BOOK}).to_string();
    for _ in 0..5 {
        let (a, b, c) = tokio::join!(
            instance.post("/schemas/protobuf", &body),
            instance.post("/schemas/protobuf", &body),
            instance.delete("/schemas/protobuf/s"),
        );
        let made = [&a, &b].iter().filter(|answer| answer.status == 201).count();
        assert!(made == 1 || (made == 2 && c.status == 200), "{a:?} {b:?} {c:?}");
        let left = instance.delete("/schemas/protobuf/s").await.status;
        assert_eq!(left == 200, made == 2 || c.status == 400, "{a:?} {b:?} {c:?}");
    }
    instance.stop().await;
}
