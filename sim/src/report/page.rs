//! The report as one page that opens from a file, without network and without scripts.
//!
//! Start at [`page`].

use std::fmt::Write;

use super::diagram::diagram;
use super::ledger::Row;
use super::{Account, FaultRow};

/// The page stays below 1 MB: what does not fit is left to `-o json`.
const BAD_BYTES_MAX: usize = 120_000;
const LEDGER_BYTES_MAX: usize = 400_000;
const LOG_BYTES_MAX: usize = 100_000;
/// Longer texts of others are cut, and those in a table of many rows earlier.
const TEXT_CHARS_MAX: usize = 400;
const CELL_CHARS_MAX: usize = 80;

/// So many findings are seen at once, and so many at all.
const FINDINGS_OPEN: usize = 5;
const FINDINGS_MAX: usize = 100;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8886;--bad:#c62828;--good:#2e7d32;--fault:#c62828;\
--client:#1565c0;--disk:#6a1b9a;--process:#b26a00;--quiet:#777}\
@media(prefers-color-scheme:dark){:root{--bad:#ff8a80;--good:#81c784;--fault:#ff8a80;\
--client:#82b1ff;--disk:#ce93d8;--process:#ffcc80;--quiet:#aaa}}\
body{font:15px/1.5 system-ui,sans-serif;max-width:1280px;margin:2em auto;padding:0 1em}\
code,pre,td,svg{font-family:ui-monospace,monospace;font-size:13px}\
pre{overflow:auto;border:1px solid var(--line);padding:.7em}\
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid var(--line);\
padding:.2em .6em;text-align:left;vertical-align:top}th{font-size:13px}\
td.n{text-align:right;white-space:nowrap}.wide{overflow-x:auto}\
.verdict{border-left:6px solid var(--good);padding:.4em 1em}.verdict.bad{border-color:var(--bad)}\
tr.bad td,.fate-lost,.fate-repeated-bad{color:var(--bad);font-weight:600}\
summary{cursor:pointer;font-weight:600}\
svg text{fill:currentColor}svg text.lane{text-anchor:middle;font-weight:600}\
svg text.time{text-anchor:end;fill:var(--quiet)}svg line.lane{stroke:var(--line)}\
svg line.message{stroke:currentColor;stroke-width:1.2}svg line.lost{stroke:var(--bad);\
stroke-dasharray:4 3}svg text.lost{fill:var(--bad);text-anchor:middle;font-weight:700}\
svg circle{fill:currentColor}\
svg .fault{fill:var(--fault);stroke:var(--fault)}svg .client{fill:var(--client)}\
svg .disk{fill:var(--disk)}svg .process{fill:var(--process);stroke:var(--process)}\
svg .check{fill:var(--quiet);stroke:var(--quiet)}svg text.fault,svg text.process,\
svg text.check{stroke:none}svg .log{fill:var(--quiet);stroke:none}\
";

/// `text` where HTML expects text or a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            // Neither is allowed in a document.
            '\u{0}'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{7f}' => escaped += "\u{fffd}",
            _ => escaped.push(character),
        }
    }
    escaped
}

/// The whole page.
pub(super) fn page(account: &Account) -> String {
    let title = format!("{} · seed {}", account.scenario, account.seed);
    let sections = [
        verdict(account),
        what_happened(account),
        faults(account),
        ledger(account),
        log(account),
        figures(account),
    ];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n{}</body></html>\n",
        sections.concat(),
        title = escape(&title),
    )
}

fn verdict(account: &Account) -> String {
    let mut html = String::new();
    let class = if account.findings.is_empty() { "verdict" } else { "verdict bad" };
    let _ = writeln!(html, "<section id=\"verdict\" class=\"{class}\">");
    if account.findings.is_empty() {
        html += "<p><strong>Nothing was found.</strong> Every check passed.</p>\n";
    }
    for finding in account.findings.iter().take(FINDINGS_OPEN) {
        let _ = writeln!(html, "<p><strong>VIOLATION</strong> {}</p>", cut(&finding.text));
    }
    let more = account.findings.iter().skip(FINDINGS_OPEN).take(FINDINGS_MAX);
    if FINDINGS_OPEN < account.findings.len() {
        let count = account.findings.len() - FINDINGS_OPEN;
        let _ = writeln!(html, "<details><summary>… and {count} more</summary>");
        for finding in more {
            let _ = writeln!(html, "<p>{}</p>", cut(&finding.text));
        }
        html += "</details>\n";
    }
    if let Some(minimal) = &account.minimal {
        let _ = writeln!(
            html,
            "<p>Smallest plan that fails the same check: {} of {} faults. {}</p>",
            minimal.faults.len(),
            account.faults.len(),
            escape(&minimal.in_words()),
        );
    }
    let _ = writeln!(
        html,
        "<p>{}</p>\n<pre>klamm-sim replay {} --seed {}    # trace {}</pre>\n</section>",
        escape(account.story.trim()),
        escape(&account.scenario),
        escape(&account.seed),
        escape(&account.hash),
    );
    html
}

fn what_happened(account: &Account) -> String {
    if account.moments.is_empty() {
        return String::new();
    }
    let about = match &account.focus {
        Some(record) => format!("The way of record {record}, and the faults around it"),
        None => "The faults, and what brokers and clients said".to_owned(),
    };
    let more = match account.moments_left_out {
        0 => String::new(),
        count => format!(" {count} moments are left out: <code>replay</code> shows all."),
    };
    format!(
        "<section id=\"diagram\"><h2>What happened</h2>\n<p>{}. Time runs downwards, in simulated \
         seconds; a line is a message from where it left to where it arrived.{more}</p>\n\
         <div class=\"wide\">{}</div></section>\n",
        escape(&about),
        diagram(&account.moments),
    )
}

fn faults(account: &Account) -> String {
    let mut html = String::from("<section id=\"faults\"><h2>Faults</h2>\n");
    if account.faults.is_empty() {
        return html + "<p>None were planned.</p></section>\n";
    }
    html += "<table><tr><th>#<th>when<th>what<th>struck<th>effect<th>without it</tr>\n";
    for (at, fault) in account.faults.iter().enumerate() {
        let FaultRow { when, what, struck, had_effect, without } = fault;
        let effect = match (struck, had_effect) {
            (None, _) => "its moment never came",
            (Some(_), true) => "bit",
            (Some(_), false) => "none",
        };
        let _ = writeln!(
            html,
            "<tr><td class=\"n\">{at}<td>{}<td>{}<td class=\"n\">{}<td>{effect}<td>{}</tr>",
            escape(when),
            escape(what),
            struck.map_or_else(String::new, seconds),
            without.as_deref().map_or_else(String::new, cut),
        );
    }
    html += "</table>\n";
    if let Some(minimal) = &account.minimal {
        let _ = writeln!(
            html,
            "<details><summary>The smallest plan, as a scenario</summary><pre>{}</pre></details>",
            escape(&minimal.toml),
        );
    }
    html + "</section>\n"
}

fn ledger(account: &Account) -> String {
    let mut html = format!(
        "<section id=\"ledger\"><h2>Records</h2>\n<p>{}</p>\n",
        escape(&account.fates_in_words())
    );
    let mut bad = account.ledger.iter().filter(|row| row.is_bad).peekable();
    if bad.peek().is_some() {
        html += "<h3>Named by a check</h3>\n";
        html += &table(bad, BAD_BYTES_MAX).0;
    }
    let (table, count) = table(account.ledger.iter(), LEDGER_BYTES_MAX);
    let more = match account.ledger.len() {
        all if all == count => String::new(),
        all => format!(", the first {count} of {all}"),
    };
    let _ = writeln!(
        html,
        "<details><summary>Every record{more}</summary>\n{table}</details></section>"
    );
    html
}

/// The producer crashed, or the time was up.
const NOTHING_TOLD: &str = "nothing";

/// As many of `rows` as fit into so many bytes, and how many these are.
fn table<'a>(rows: impl Iterator<Item = &'a Row>, bytes_max: usize) -> (String, usize) {
    let mut html = String::from(
        "<div class=\"wide\"><table><tr><th>record<th>promise<th>partition<th>sent<th>in page cache\
         <th>on stable storage<th>producer told<th>&nbsp;<th>fetched<th>at the end<th>fate</tr>\n",
    );
    let mut count = 0;
    for row in rows {
        let row = table_row(row);
        if bytes_max < html.len() + row.len() {
            break;
        }
        html += &row;
        count += 1;
    }
    (html + "</table></div>\n", count)
}

fn table_row(row: &Row) -> String {
    let time = |at: Option<u64>| at.map_or_else(|| "–".to_owned(), seconds);
    let stored: Vec<String> = row.stored.iter().map(|offset| format!("@{offset}")).collect();
    format!(
        "<tr{}><td>{}<td>{}<td>{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}\
         <td class=\"n\">{}<td>{}<td class=\"n\">{}<td>{}<td class=\"fate-{fate}\">{fate}</tr>\n",
        if row.is_bad { " class=\"bad\"" } else { "" },
        escape(&row.record),
        row.promise,
        escape(&row.partition),
        seconds(row.sent),
        time(row.appended),
        time(row.synced),
        time(row.ended),
        cut_to(CELL_CHARS_MAX, row.outcome.as_deref().unwrap_or(NOTHING_TOLD)),
        time(row.fetched),
        stored.join(" "),
        fate = row.fate.name(),
    )
}

/// The last lines that fit.
fn log(account: &Account) -> String {
    if account.log.is_empty() {
        return String::new();
    }
    let lines =
        account.log.iter().map(|line| format!("{} {}\n", seconds(line.at), cut(&line.text)));
    let mut bytes = 0;
    let mut shown: Vec<String> = lines
        .rev()
        .take_while(|line| {
            bytes += line.len();
            bytes <= LOG_BYTES_MAX
        })
        .collect();
    shown.reverse();
    let more = match account.log.len() - shown.len() {
        0 => String::new(),
        count => format!(" (the last {}; {count} before)", shown.len()),
    };
    format!(
        "<section id=\"log\"><details><summary>Log lines{more}</summary><pre>\n{}</pre></details></section>\n",
        shown.concat()
    )
}

fn figures(account: &Account) -> String {
    let mut html = String::from("<section id=\"figures\"><h2>Figures</h2>\n<table>");
    for (name, figure) in &account.figures {
        let _ = writeln!(html, "<tr><td>{}<td class=\"n\">{figure}</tr>", escape(name));
    }
    html + "</table></section>\n"
}

fn seconds(at: u64) -> String {
    format!("{:.6}", at as f64 / 1e9)
}

/// Escaped, and not longer than a page can bear.
pub(super) fn cut(text: &str) -> String {
    cut_to(TEXT_CHARS_MAX, text)
}

/// The same, for at most so many characters.
pub(super) fn cut_to(chars_max: usize, text: &str) -> String {
    let short: String = text.chars().take(chars_max).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    escape(&short) + more
}
