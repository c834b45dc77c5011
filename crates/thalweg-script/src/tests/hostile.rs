//! Scripts that mean harm, or do harm without meaning it.

use super::*;

/// What follows a hostile row: the interpreter still works, or at least says why not.
fn survives(text: &str, expected: &str) {
    let f = function(text);
    let results = call(&*f, &[Column::from_ints([1, 0, 2])], 3);
    assert_eq!(results.len(), 3, "{text}");
    assert_eq!(results[0], Ok(Value::text("fine")), "{text}");
    let error = results[1].clone().unwrap_err();
    assert!(error.starts_with("call func f error: ") && error.contains(expected), "{text}: {error}");
    assert_eq!(results[2], Ok(Value::text("fine")), "{text}");
}

#[test]
fn an_endless_loop_costs_its_row_only() {
    for harm in [
        "for (;;) {}",
        "while (true) { try { for (;;) {} } catch (e) {} finally { continue; } }",
        "(function g() { g(); for (;;) {} })()",
        "/^(a+)+$/.test('a'.repeat(40) + 'b'); for (;;) {}",
        "eval('for (;;) {}')",
        "[1, 2].sort(() => { for (;;) {} })",
        "new Function('for (;;) {}')()",
        "return { get a() { for (;;) {} } }",
        "return new Proxy({}, { ownKeys() { for (;;) {} } })",
        "throw { toString() { for (;;) {} }, toJSON() { for (;;) {} } }",
    ] {
        let text = format!("function f(x) {{ if (x === 0) {{ {harm} }} return 'fine'; }}");
        let f = function_within(Duration::from_millis(100), &text);
        let results = call(&*f, &[Column::from_ints([1, 0, 2])], 3);
        assert_eq!(
            (&results[0], &results[2]),
            (&Ok(Value::text("fine")), &Ok(Value::text("fine"))),
            "{harm}"
        );
        let error = results[1].clone().unwrap_err();
        let is_told = error.contains("it was interrupted, because it took longer than 100ms")
            || error.contains("Maximum call stack")
            || error.contains("an error that cannot be shown");
        assert!(is_told, "{harm}: {error}");
    }
}

#[test]
fn the_time_limit_is_one_of_each_row() {
    // 60 rows of 20 milliseconds each take longer than the limit of one, which is a second.
    let text = "function f(x) { const end = Date.now() + 20; while (Date.now() < end) {} return x; }";
    let results = call(&*function(text), &[Column::from_ints(0..60)], 60);
    assert!(results.iter().all(Result::is_ok));
}

#[test]
fn recursion_and_memory_have_limits() {
    survives(
        "function g(n) { return g(n + 1) + 1; } function f(x) { if (x === 0) g(0); return 'fine'; }",
        "Maximum call stack",
    );
    for harm in [
        "let a = []; for (;;) a.push(new Array(1000).fill(1))",
        "'x'.repeat(2 ** 29).split('')",
        "let s = 'x'; for (;;) s += s",
        "new ArrayBuffer(2 ** 30)",
        "new Array(2 ** 25).fill(0)",
        "let a = {}; for (let i = 0; ; i++) a['k' + i] = i",
    ] {
        let text = format!("function f(x) {{ if (x === 0) {{ {harm} }} return 'fine'; }}");
        let f = function(&text);
        let results = call(&*f, &[Column::from_ints([1, 0, 2])], 3);
        let error = results[1].clone().unwrap_err();
        assert!(
            error.contains("memory")
                || error.contains("too long")
                || error.contains("invalid")
                || error.contains("interrupted"),
            "{harm}: {error}"
        );
        assert_eq!(results[2], Ok(Value::text("fine")), "{harm}");
    }
}

#[test]
fn results_without_end_are_refused() {
    survives(
        "function f(x) { if (x === 0) { const a = []; a[0] = a; return a; } return 'fine'; }",
        "nested deeper than 64 levels, or contains itself",
    );
    survives(
        "function f(x) { if (x === 0) { const a = []; a.length = 4294967295; return a; } return 'fine'; }",
        "larger than 16 MB",
    );
    survives(
        "function f(x) { if (x === 0) { const s = 'x'.repeat(1e6); return new Array(100).fill(s); } return 'fine'; }",
        "larger than 16 MB",
    );
    survives(
        "function f(x) { return x === 0 ? new Proxy([], { get() { throw new Error('trap'); } }) : 'fine'; }",
        "trap",
    );
}

#[test]
fn getters_that_throw_are_errors_of_their_row() {
    survives(
        "function f(x) { return x === 0 ? { get a() { throw new Error('got'); } } : 'fine'; }",
        "Error: got (line 1, ",
    );
    survives("function f(x) { if (x === 0) throw { get message() { throw 1; } }; return 'fine'; }", "");
    survives(
        "function f(x) { if (x === 0) { const e = new Error('a'); Object.defineProperty(e, 'message', { get() { throw 1; } }); throw e; } return 'fine'; }",
        "an error that cannot be shown",
    );
    survives(
        "function f(x) { if (x === 0) { const e = new Error('a'); Object.defineProperty(e, 'stack', { value: { toString() { throw 1; } } }); throw e; } return 'fine'; }",
        "an error that cannot be shown",
    );
}

#[test]
fn a_script_that_breaks_the_language_breaks_it_for_itself_only() {
    let host = host();
    let text = "
        Object.prototype.polluted = 'yes';
        Array.prototype.map = null; Date = null; Map = null; Error = null; JSON = null; Array.isArray = null;
        Function.prototype.call = null; Number.prototype.toString = null; String.prototype.toWellFormed = null;
        Object.defineProperty(Object.prototype, 'a', { set(v) { throw new Error('mine'); } });
        function bad(x) { return { x, list: [1], when: x }; }";
    host.create(script("bad", text, false)).unwrap();
    host.create(script(
        "good",
        "function good(x) { return [({}).polluted === undefined, [7][0], typeof JSON]; }",
        false,
    ))
    .unwrap();
    let (bad, good) = (host.resolve("bad").unwrap().unwrap(), host.resolve("good").unwrap().unwrap());
    let when = Value::Time(Timestamp(5));
    let arg = Column::from_values([&map(&[("a", Value::Int(1)), ("t", when.clone())])]);
    let results = call(&*bad, std::slice::from_ref(&arg), 1);
    let given = map(&[("a", Value::Int(1)), ("t", when)]);
    let expected = map(&[("x", given.clone()), ("list", list(&[Value::Int(1)])), ("when", given)]);
    assert_eq!(results, [Ok(expected)]);
    let results = call(&*good, &[arg], 1);
    assert_eq!(results, [Ok(list(&[Value::Bool(true), Value::Int(7), Value::text("object")]))]);
}

#[test]
fn arrays_that_a_script_has_spoiled_fail_with_its_own_error() {
    let f = function(
        "Object.defineProperty(Array.prototype, '0', { set(v) { throw new Error('mine'); } }); function f(x) { return x; }",
    );
    let results = call(&*f, &[Column::from_values([&Value::text("a"), &Value::text("b")])], 2);
    let errors: Vec<String> = results.into_iter().map(Result::unwrap_err).collect();
    assert_eq!(errors.len(), 2);
    assert!(errors.iter().all(|error| error.contains("Error: mine")), "{errors:?}");
}

#[test]
fn there_is_nothing_outside_of_the_script() {
    for name in [
        "require",
        "process",
        "fetch",
        "XMLHttpRequest",
        "Deno",
        "std",
        "os",
        "setTimeout",
        "WebAssembly",
        "Worker",
    ] {
        let kind = once(&format!("function f() {{ return typeof {name}; }}"), &[]);
        assert_eq!(kind, Ok(Value::text("undefined")), "{name}");
    }
    let import = function(
        "let why = 'none'; function f() { import('/etc/passwd').then(() => { why = 'read'; }, () => { why = 'refused'; }); return why; }",
    );
    let results: Vec<_> = (0..2).flat_map(|_| call(&*import, &[], 1)).collect();
    assert_eq!(results, [Ok(Value::text("none")), Ok(Value::text("refused"))]);
    let waits = once(
        "function f() { try { Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); return 'waited'; } catch (e) { return 'refused'; } }",
        &[],
    );
    assert_eq!(waits, Ok(Value::text("refused")));
}

#[test]
fn promises_without_end_do_not_pile_up() {
    let f =
        function("function g() { Promise.resolve().then(g); } function f(x) { if (x === 0) g(); return x; }");
    for _ in 0..3 {
        assert_eq!(call(&*f, &[Column::from_ints([0, 1])], 2), [Ok(Value::Int(0)), Ok(Value::Int(1))]);
    }
}

#[test]
fn a_large_script_is_taken_and_a_script_that_is_too_large_refused_by_its_memory() {
    let mut text = String::from("function f() { return 7; }\n");
    while text.len() < 1 << 20 {
        text.push_str("function g(a, b) { return a * b + 'some text that is not used'.length; }\n");
    }
    assert_eq!(once(&text, &[]), Ok(Value::Int(7)));
    let text = format!("const big = '{}'.repeat(3); function f() {{ return 1; }}", "x".repeat(8 << 20));
    let refused = host().create(script("f", &text, false)).unwrap_err().to_string();
    assert!(refused.contains("memory"), "{refused}");
}

#[test]
fn log_and_console_are_there_and_harmless() {
    let text = "function f(x) { const a = []; a[0] = a; log('x', x, a, 1n, undefined, () => 1); \
                console.log({ a: 1 }); console.error(Symbol('s')); for (let i = 0; i < 1000; i++) log('x'.repeat(1e4)); return 1; }";
    assert_eq!(once(text, &[Value::Int(1)]), Ok(Value::Int(1)));
}

/// Whatever an interpreter had in hand when its memory ran out, it can be thrown away.
#[test]
fn memory_that_runs_out_anywhere_ends_in_errors_only() {
    let text = "const kept = []; class A { #x = [1]; get x() { return this.#x; } }
        function f(x) { kept.push({ a: new A(), m: new Map([[x, [x]]]), s: 'x'.repeat(100) + x, f: () => x,
            g: (function* () { yield x; })().next(), p: Promise.resolve(x), r: /a(b)/.exec('ab' + x), d: new Date(x) });
            return JSON.parse(JSON.stringify(kept.slice(-3))); }";
    for memory in (300..700).step_by(7) {
        let limits = Limits { memory: memory << 10, ..limits() };
        let host = ScriptHost::open(limits, Box::new(Drawer::default())).unwrap();
        if host.create(script("f", text, false)).is_ok() {
            let f = host.resolve("f").unwrap().unwrap();
            assert_eq!(call(&*f, &[Column::from_ints(0..400)], 400).len(), 400);
        }
    }
}
