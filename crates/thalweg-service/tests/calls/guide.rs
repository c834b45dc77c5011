//! What `docs/guide/services.md` promises in its five steps.

use serde_json::json;

use super::desk::Desk;
use super::http::{HttpServer, json as answer};

/// The first block of a language on the page.
fn block<'a>(page: &'a str, language: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("```{language}\n")).expect("the page has such a block");
    rest.split_once("```").expect("the block ends").0
}

#[test]
fn the_five_steps_of_the_guide_work_as_written() {
    let page = include_str!("../../../../docs/guide/services.md");
    let server = HttpServer::start(|asked| {
        assert_eq!((&*asked.method, &*asked.target), ("POST", "/price"));
        let asked: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
        assert_eq!(asked, json!({"name": "nail", "count": "5"}));
        answer(r#"{"total":12.5}"#)
    });
    let definition = block(page, "json").replace("http://10.0.0.5:8080", &server.url());
    let desk = Desk::new();
    desk.install("shop", &[("shop.json", &definition), ("schemas/shop.proto", block(page, "protobuf"))])
        .unwrap();
    assert_eq!(desk.call("shop_price", r#"["nail",5]"#), r#"{"total":12.5}"#);
    assert_eq!(desk.call("shop_price", r#"[{"name":"nail","count":5.0,"more":1}]"#), r#"{"total":12.5}"#);
}
