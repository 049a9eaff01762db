//! The page: whole in itself, well-formed, its points where the counts put them.

use super::{data, exits, profile_of};
use grading::profile::assembled::Assembler;
use grading::profile::{Profile, count, page, shape};
use roxmltree::{Document, Node, ParsingOptions};
use simt::count::roofline::gpu;

fn parsed(html: &str) -> Document<'_> {
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(html, options).expect("well-formed")
}

fn profile() -> Profile {
    let shapes = shape::of_task("softmax-topk");
    let shape = shapes[1].resized([("R", 2), ("V", 600), ("K", 8)]);
    let h200 = gpu("H200").expect("known");
    let shape = shape.expect("its sizes");
    count::builtin(&shape, None, h200, &mut Assembler::none()).expect("it runs")
}

/// Nothing in it asks for anything that is elsewhere.
fn is_self_contained(html: &str) {
    let page = parsed(html);
    for node in page.descendants().filter(Node::is_element) {
        let name = node.tag_name().name();
        for forbidden in [
            "script", "link", "iframe", "img", "object", "embed", "base", "image",
        ] {
            assert_ne!(name, forbidden);
        }
        for attribute in node.attributes() {
            let (name, value) = (attribute.name(), attribute.value());
            assert!(
                !["src", "href", "data", "action"].contains(&name),
                "{name}={value}"
            );
            assert!(!value.contains("url("), "{name}={value}");
        }
        // A namespace is a name, and nobody fetches it.
        let text = node.text().unwrap_or_default();
        assert!(!text.contains("://") && !text.contains("@import"), "{text}");
    }
}

#[test]
fn the_page_needs_nothing_else() {
    is_self_contained(&page::html(&profile()));
}

#[test]
fn a_page_that_asks_for_a_script_is_found() {
    let html = page::html(&profile()).replace("</body>", "<script src=\"x.js\"></script></body>");
    assert!(std::panic::catch_unwind(|| is_self_contained(&html)).is_err());
}

fn number(node: &Node<'_, '_>, name: &str) -> f64 {
    let text = node.attribute(name).expect("it has it");
    text.parse().expect("a number")
}

/// Logarithmic axes, from the corners of the roof: x is known at three of them, y at two.
struct Axes {
    x: (f64, f64),
    y: (f64, f64),
}

impl Axes {
    fn of(svg: &Document<'_>, ridge: f64, bandwidth: f64, peak: f64, right: f64) -> Axes {
        let roof = svg.descendants().find(|node| {
            let points = node.attribute("points").unwrap_or_default();
            node.has_tag_name((node.tag_name().namespace().unwrap_or(""), "polyline"))
                && points.split_whitespace().count() == 3
                && node.attribute("stroke") == Some("#000000")
                && node.attribute("stroke-width") == Some("2")
        });
        let roof = roof.expect("the roof is a line of three points");
        let points: Vec<(f64, f64)> = roof
            .attribute("points")
            .expect("found by it")
            .split_whitespace()
            .map(|point| {
                let (x, y) = point.split_once(',').expect("x,y");
                (x.parse().expect("x"), y.parse().expect("y"))
            })
            .collect();
        let [first, corner, last] = points[..] else {
            panic!("{points:?}");
        };
        // x: from the corner to the right end. y: along the slope, which rises with x.
        let per_x = (last.0 - corner.0) / (right / ridge).ln();
        let left = ridge * ((first.0 - corner.0) / per_x).exp();
        let per_y = (first.1 - corner.1) / (left * bandwidth / peak).ln();
        Axes {
            x: (corner.0 - per_x * ridge.ln(), per_x),
            y: (corner.1 - per_y * peak.ln(), per_y),
        }
    }

    fn at(&self, intensity: f64, rate: f64) -> (f64, f64) {
        (
            self.x.0 + self.x.1 * intensity.ln(),
            self.y.0 + self.y.1 * rate.ln(),
        )
    }
}

#[test]
fn each_rung_stands_where_its_counts_put_it() {
    let profile = profile();
    let html = page::html(&profile);
    let page = parsed(&html);
    let h200 = gpu("H200").expect("known");
    let (peak, bandwidth) = (h200.single, h200.bandwidth);
    let ridge = peak / bandwidth;
    // The right end is three times the greatest intensity that is shown.
    let moved = |counted: &grading::profile::Figures| {
        counted.operations() as f64 / counted.moved_bytes as f64
    };
    let rungs = || profile.rungs.iter().map(|rung| &rung.counted);
    let right = 3.0 * rungs().map(moved).fold(ridge, f64::max);
    let axes = Axes::of(&page, ridge, bandwidth, peak, right);
    let circles: Vec<(f64, f64)> = page
        .descendants()
        .filter(|node| node.tag_name().name() == "circle" && number(node, "r") == 5.0)
        .map(|node| (number(&node, "cx"), number(&node, "cy")))
        .collect();
    assert_eq!(circles.len(), profile.rungs.len());
    for (figures, (x, y)) in rungs().zip(circles) {
        // Launches follow each other, so a rung may stand below the roof, and never above it.
        let intensity = moved(figures);
        let seconds = figures.bound(h200).moved;
        let rate = figures.operations() as f64 / seconds / 1e12;
        assert!(rate <= 1.0001 * (intensity * bandwidth).min(peak));
        let (want_x, want_y) = axes.at(intensity, rate);
        // Whole pixels, and the ends of the axes are whole pixels too.
        assert!((x - want_x).abs() <= 2.0, "{x} {want_x}");
        assert!((y - want_y).abs() <= 2.0, "{y} {want_y}");
    }
}

#[test]
fn the_command_writes_the_page_of_a_submission() {
    let folder = tempfile::tempdir().expect("a folder");
    let nvcc = data("../../examples/cuda");
    let page = |file| {
        let html = ["--html", file];
        profile_of(folder.path(), "softmax-topk", "R=2,V=300,K=4", &nvcc, &html)
    };
    exits(&page("p.html"), 0, "right: ");
    let html = std::fs::read_to_string(folder.path().join("p.html")).expect("written");
    is_self_contained(&html);
    assert!(html.contains("softmax_topk_bf16") && html.contains("roof of the H200"));
    exits(&page("nowhere/p.html"), 2, "nowhere/p.html");
}
