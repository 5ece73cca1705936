//! Pages, filters, and what is in them after every change.

use serde_json::{Value, json};

use crate::harness::{Answer, Server, png};

fn filenames(answer: &Answer) -> Vec<String> {
    let name = |item: &Value| item["filename"].as_str().unwrap().to_owned();
    answer.json()["items"].as_array().unwrap().iter().map(name).collect()
}

#[test]
fn pages_follow_each_other_and_total_counts_the_filter() {
    let server = Server::start();
    let project = server.project();
    let names: Vec<String> = (0..5).map(|n| format!("{n}.png")).collect();
    for name in &names {
        server.upload(&project, name, &png([1, 1, 1]));
    }
    let page = |query: &str| server.get("ann", &format!("/api/projects/{project}/images{query}")).expect(200);
    assert_eq!(filenames(&page("")), names);
    assert_eq!(filenames(&page("?skip=1&limit=2")), names[1..3]);
    assert_eq!(page("?skip=1&limit=2").json()["total"], 5);
    assert_eq!(page("?skip=9").json(), json!({"items": [], "total": 5}));
    assert_eq!(page("?search_field=filename&search_value=3.PNG&limit=1").json()["total"], 1);
}

#[test]
fn every_set_of_parameters_is_cached_by_itself() {
    let server = Server::start();
    let project = server.project();
    server.upload(&project, "a.png", &png([1, 1, 1]));
    for query in [
        "",
        "?skip=1",
        "?limit=1",
        "?include_deleted=true",
        "?deleted_only=true",
        "?search_field=filename&search_value=a",
        "?search_field=filename&search_value=b",
        "?search_field=content_type&search_value=a",
        "?search_field=a&search_value=filename",
    ] {
        let path = format!("/api/projects/{project}/images{query}");
        assert_eq!(server.get("ann", &path).expect(200).source(), "miss", "{query}");
        assert_eq!(server.get("ann", &path).expect(200).source(), "hit", "{query}");
    }
    // One page by other words.
    for query in
        ["?skip=0&limit=100", "?search_field=filename", "?search_value=a", "?search_field=&search_value="]
    {
        let path = format!("/api/projects/{project}/images{query}");
        assert_eq!(server.get("ann", &path).expect(200).source(), "hit", "{query}");
    }
}

#[test]
fn a_search_takes_its_value_literally() {
    let server = Server::start();
    let project = server.project();
    let image = server.upload(&project, "100%_Ärger.png", &png([1, 1, 1]));
    server.upload(&project, "1000 Arger.png", &png([1, 1, 1]));
    server.send(
        "PUT",
        "ann",
        &format!("/api/images/{image}/metadata"),
        &json!({"place": "Ålesund", "year": 1924}),
    );
    let found = |field: &str, value: &str| {
        let query = format!("search_field={field}&search_value={value}");
        filenames(&server.get("ann", &format!("/api/projects/{project}/images?{query}")).expect(200)).len()
    };
    assert_eq!(found("filename", "100"), 2);
    assert_eq!(found("filename", "%25"), 1);
    assert_eq!(found("filename", "0_"), 0);
    assert_eq!(found("filename", "%C3%A4RGER"), 1);
    assert_eq!(found("place", "%C3%A5LES"), 1);
    assert_eq!(found("year", "92"), 1);
    assert_eq!(found("uploaded_by", "ANN"), 2);
    assert_eq!(found("content_type", "png"), 2);
    assert_eq!(found("nothing", "x"), 0);
    assert_eq!(found("filename", "'%20OR%201=1--"), 0);
}

#[test]
fn a_search_finds_a_text_in_any_case_and_any_encoding() {
    let server = Server::start();
    let project = server.project();
    for name in ["οδος.png", "cafe\u{301}.png", "Straße.png"] {
        let image = server.upload(&project, name, &png([1, 1, 1]));
        let metadata = format!("/api/images/{image}/metadata");
        server.send("PUT", "ann", &metadata, &json!({ "ville": name, "pre\u{301}nom": name })).expect(200);
    }
    for (field, value) in [
        ("filename", "%CE%9F%CE%94%CE%9F%CE%A3"),
        ("filename", "caf%C3%A9"),
        ("filename", "CAFE%CC%81"),
        ("filename", "STRASSE"),
        ("ville", "CAF%C3%89"),
        ("pr%C3%A9nom", "CAF%C3%89"),
    ] {
        let path = format!("/api/projects/{project}/images?search_field={field}&search_value={value}");
        assert_eq!(server.get("ann", &path).expect(200).json()["total"], 1, "{field} {value}");
    }
    // An accent is no matter of case.
    let path = format!("/api/projects/{project}/images?search_field=filename&search_value=cafe.");
    assert_eq!(server.get("ann", &path).expect(200).json()["total"], 0);
}

#[test]
fn searches_that_mean_the_same_share_one_entry() {
    let server = Server::start();
    let project = server.project();
    server.upload(&project, "Café.png", &png([1, 1, 1]));
    let search = |value: &str| {
        let path = format!("/api/projects/{project}/images?search_field=filename&search_value={value}");
        let answer = server.get("ann", &path).expect(200);
        (answer.source().to_owned(), answer.json())
    };
    let (source, first) = search("caf%C3%A9");
    assert_eq!(source, "miss");
    for other in ["CAF%C3%89", "cafe%CC%81", "caf%C3%A9"] {
        assert_eq!(search(other), ("hit".to_owned(), first.clone()), "{other}");
    }
}

#[test]
fn every_change_is_in_the_next_listing() {
    let server = Server::start();
    let project = server.project();
    let path = format!("/api/projects/{project}/images");
    let total = |query: &str| {
        let first = server.get("ann", &format!("{path}{query}")).expect(200);
        assert_eq!(first.source(), "miss", "{query}");
        assert_eq!(server.get("ann", &format!("{path}{query}")).source(), "hit");
        first.json()["total"].as_u64().unwrap()
    };
    assert_eq!(total(""), 0);
    let image = server.upload(&project, "a.png", &png([1, 1, 1]));
    assert_eq!(total(""), 1);
    server.upload(&project, "b.png", &png([1, 1, 1]));
    assert_eq!(total(""), 2);

    let search = "?search_field=mood&search_value=blue";
    assert_eq!(total(search), 0);
    server.send("PUT", "ann", &format!("/api/images/{image}/metadata"), &json!({"mood": "Blue"})).expect(200);
    assert_eq!(total(search), 1);

    server.delete("ann", &format!("/api/images/{image}")).expect(204);
    let totals = [total(""), total(search), total("?include_deleted=true"), total("?deleted_only=true")];
    assert_eq!(totals, [1, 0, 2, 1]);
    server.post("ann", &format!("/api/images/{image}/restore")).expect(200);
    let totals = [total(""), total(search), total("?include_deleted=true"), total("?deleted_only=true")];
    assert_eq!(totals, [2, 1, 2, 0]);
}

#[test]
fn a_change_in_one_project_leaves_the_others_warm() {
    let server = Server::start();
    let (one, other) = (server.project(), server.project());
    let path = format!("/api/projects/{other}/images");
    server.get("ann", &path).expect(200);
    server.upload(&one, "a.png", &png([1, 1, 1]));
    assert_eq!(server.get("ann", &path).expect(200).source(), "hit");
}
