//! The space-time diagram: a column per node, time downwards, a line per message from the moment it
//! left to the moment it arrived. Inline SVG, without scripts.
//!
//! The distance between two moments says nothing about the time between them: what matters happens
//! within microseconds, and then nothing for seconds. Each has its time written beside it.
//!
//! Start at [`diagram`].

use std::fmt::Write;

use super::moments::Moment;
use super::page::{cut, cut_to, escape};
use crate::world::{Kind, Nanos};

const ROW: usize = 22;
const COLUMN: usize = 96;
const TIMES: usize = 104;
const HEAD: usize = 34;
const WORDS: usize = 760;
/// Longer texts are cut; the whole is in the tooltip.
const TEXT_CHARS_MAX: usize = 110;

/// A point of the diagram.
struct Point<'a> {
    at: Nanos,
    moment: &'a Moment,
    /// The end of a message instead of its beginning.
    is_arrival: bool,
}

/// The diagram of `moments`.
pub(super) fn diagram(moments: &[Moment]) -> String {
    let lanes = lanes(moments);
    let points = points(moments);
    let x = |name: &str| {
        let at = lanes.iter().position(|lane| *lane == name).unwrap_or(0);
        TIMES + COLUMN / 2 + at * COLUMN
    };
    let y = |at: usize| HEAD + ROW / 2 + at * ROW;
    let words_at = TIMES + lanes.len() * COLUMN + 8;
    let (width, height) = (words_at + WORDS, HEAD + points.len() * ROW + 8);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" role=\"img\" \
         aria-label=\"what happened where, from top to bottom\">\n"
    );
    // Writing to a String can not fail.
    for lane in &lanes {
        let _ = writeln!(
            svg,
            "<text class=\"lane\" x=\"{x}\" y=\"20\">{name}</text>\
             <line class=\"lane\" x1=\"{x}\" y1=\"{HEAD}\" x2=\"{x}\" y2=\"{height}\"/>",
            x = x(lane),
            name = escape(lane),
        );
    }
    for (from, point) in points.iter().enumerate().filter(|(_, point)| !point.is_arrival) {
        let Some(message) = &point.moment.message else { continue };
        let start = (x(point.moment.node.as_deref().unwrap_or_default()), y(from));
        let arrival = points
            .iter()
            .position(|other| other.is_arrival && std::ptr::eq(other.moment, point.moment));
        let _ = writeln!(svg, "{}", arrow(start, x(&message.to), arrival.map(y)));
    }
    for (at, point) in points.iter().enumerate() {
        svg += &row(point, y(at), words_at, x);
    }
    svg + "</svg>"
}

/// The nodes that anything happened on: clients first, in the order of their numbers.
fn lanes(moments: &[Moment]) -> Vec<&str> {
    let here = moments.iter().filter_map(|moment| moment.node.as_deref());
    let there = moments.iter().filter_map(|moment| Some(moment.message.as_ref()?.to.as_str()));
    let mut lanes: Vec<&str> = here.chain(there).collect();
    let key = |name: &str| {
        let number = name.rsplit('-').next().and_then(|digits| digits.parse::<u32>().ok());
        let kind = match name.split('-').next() {
            Some("client") => 0,
            Some("broker") => 1,
            _ => 2,
        };
        (kind, number.unwrap_or(0), name.to_owned())
    };
    lanes.sort_by_key(|name| key(name));
    lanes.dedup();
    lanes
}

fn points(moments: &[Moment]) -> Vec<Point<'_>> {
    let mut points = Vec::new();
    for moment in moments {
        points.push(Point { at: moment.at, moment, is_arrival: false });
        if let Some(at) = moment.message.as_ref().and_then(|message| message.arrived) {
            points.push(Point { at, moment, is_arrival: true });
        }
    }
    points.sort_by_key(|point| point.at);
    points
}

/// From where a message left to where it arrived; half the way and a cross when it did not.
fn arrow(start: (usize, usize), end_x: usize, end_y: Option<usize>) -> String {
    let (x1, y1) = start;
    match end_y {
        Some(y2) => {
            format!("<line class=\"message\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{end_x}\" y2=\"{y2}\"/>")
        }
        None => {
            let (x2, y2) = (usize::midpoint(x1, end_x), y1 + ROW / 2);
            format!(
                "<line class=\"message lost\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>\
                 <text class=\"lost\" x=\"{x2}\" y=\"{}\">×</text>",
                y2 + 5
            )
        }
    }
}

fn row(point: &Point<'_>, y: usize, words_at: usize, x: impl Fn(&str) -> usize) -> String {
    let Point { at, moment, is_arrival } = point;
    let class = class(moment.kind);
    let (node, text) = match (&moment.message, is_arrival) {
        (Some(message), true) => (Some(&message.to), format!("{} arrives", moment.text)),
        (Some(message), false) => {
            let fate = if message.arrived.is_none() { ", which never arrives" } else { "" };
            (moment.node.as_ref(), format!("{}{fate}", moment.text))
        }
        (None, _) => (moment.node.as_ref(), moment.text.clone()),
    };
    let baseline = y + 4;
    let seconds = format!("{:.6}", *at as f64 / 1e9);
    let mark = match node {
        None => {
            let end = words_at - 8;
            format!("<line class=\"{class}\" x1=\"{TIMES}\" y1=\"{y}\" x2=\"{end}\" y2=\"{y}\"/>")
        }
        Some(node) => format!("<circle class=\"{class}\" cx=\"{}\" cy=\"{y}\" r=\"5\"/>", x(node)),
    };
    format!(
        "<g>{mark}<text class=\"time\" x=\"{}\" y=\"{baseline}\">{seconds}</text>\
         <text class=\"{class}\" x=\"{words_at}\" y=\"{baseline}\">{}<title>{}</title></text></g>\n",
        TIMES - 12,
        cut_to(TEXT_CHARS_MAX, &text),
        cut(&text),
    )
}

fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Fault => "fault",
        Kind::Process => "process",
        Kind::Client => "client",
        Kind::Disk => "disk",
        Kind::Segment | Kind::Connection => "network",
        Kind::Log => "log",
        Kind::Check | Kind::Poll => "check",
    }
}
