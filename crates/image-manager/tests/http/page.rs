//! The page for people, as files: headers, conditions, methods and hosts. What it does is tested in a browser.

use crate::harness::Server;

const PATHS: [(&str, &str); 4] = [
    ("/", "text/html; charset=utf-8"),
    ("/page/style.css", "text/css; charset=utf-8"),
    ("/page/main.js", "text/javascript; charset=utf-8"),
    ("/page/icon.svg", "image/svg+xml"),
];

#[test]
fn the_files_are_served_to_everyone_with_the_policy_that_keeps_scripts_out() {
    let server = Server::start();
    for (path, content_type) in PATHS {
        let answer = server.request("GET", path, &[], None).expect(200);
        assert_eq!(answer.header("content-type"), content_type);
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-cache");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        let policy = answer.header("content-security-policy");
        let directives: Vec<_> = policy.split(';').map(str::trim).collect();
        for directive in [
            "default-src 'self'",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(directives.contains(&directive), "{policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    }
}

#[test]
fn a_browser_that_has_a_file_gets_304_and_head_gets_no_body() {
    let server = Server::start();
    for (path, content_type) in PATHS {
        let whole = server.request("GET", path, &[], None).expect(200);
        let etag = whole.header("etag").to_owned();
        assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() > 2, "{etag}");
        for known in [etag.as_str(), &format!("W/{etag}"), "*"] {
            let again = server.request("GET", path, &[("if-none-match", known)], None).expect(304);
            assert!(again.body.is_empty());
            assert_eq!(again.header("etag"), etag);
            assert_eq!(again.header("cache-control"), "no-cache");
        }
        server.request("GET", path, &[("if-none-match", "\"other\"")], None).expect(200);
        let head = server.request("HEAD", path, &[], None).expect(200);
        assert!(head.body.is_empty());
        assert_eq!(head.header("content-length"), whole.body.len().to_string());
        assert_eq!((head.header("content-type"), head.header("etag")), (content_type, etag.as_str()));
    }
}

#[test]
fn other_methods_files_and_hosts_are_refused_as_elsewhere() {
    let server = Server::start();
    for path in ["/", "/page/main.js"] {
        for method in ["POST", "PUT", "DELETE"] {
            let body = (method != "DELETE").then_some(&b""[..]);
            let answer = server.request(method, path, &[], body).expect(405);
            assert_eq!((answer.code().as_str(), answer.header("allow")), ("method_not_allowed", "GET,HEAD"));
        }
        let foreign = server.request("GET", path, &[("host", "evil.example")], None).expect(421);
        assert_eq!(foreign.code(), "misdirected");
    }
    for path in [
        "/page",
        "/page/",
        "/page/index.html",
        "/page/nothing.js",
        "/page/..%2fCargo.toml",
        "/page/main.js/x",
        "/page/%FF",
        "/favicon.ico",
    ] {
        assert_eq!(server.request("GET", path, &[], None).expect(404).code(), "not_found", "{path}");
    }
}
