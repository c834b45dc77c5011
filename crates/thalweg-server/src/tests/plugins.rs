//! `rest-api.md` 11: what REST says about plugins that are not there or cannot be installed.

use super::client::Instance;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_and_wrong_portable_plugins_are_refused_with_upstreams_texts() {
    let instance = Instance::start().await;
    instance.get("/plugins/portables").await.is(200, "[]");
    instance.get("/plugins/portables/x").await.fails(
        404,
        1002,
        "describe portable plugin x error: not found",
    );
    instance.get("/plugins/portables/x/status").await.fails(
        404,
        1002,
        "portable plugin x not found: not found",
    );
    let missing = "delete portable plugin x error: portable plugin x is not found";
    instance.delete("/plugins/portables/x").await.fails(400, 1000, missing);
    for (body, message) in [
        (r#"{"name":"x","file":"ftp://a/b"}"#, "portable plugin create command error: invalid uri ftp://a/b"),
        (
            r#"{"name":"x","file":"file:///nowhere/x.zip"}"#,
            "portable plugin create command error: fail to download file",
        ),
        (r#"{"name":5}"#, "Invalid body: Error decoding the portable plugin json: "),
        ("{", "Invalid body: Error decoding the portable plugin json: "),
    ] {
        instance.post("/plugins/portables", body).await.fails(400, 1000, message);
    }
    instance.get("/plugins/portables").await.is(200, "[]");
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn native_plugins_are_refused_with_advice() {
    let instance = Instance::start().await;
    instance.get("/plugins/sources").await.is(200, "[]");
    instance.post("/plugins/sinks", "{}").await.fails(400, 1000, "native Go plugins are not supported");
    instance.get("/plugins/functions/x").await.fails(
        404,
        1002,
        "describe functions plugin x error: not found",
    );
    instance.stop().await;
}
