//! What is drawn of results files: a roofline for each task, ratios to peers, history by commit.

use super::plot::{PlotError, Point, Roofline, Series, lines};
use super::results::{Results, Row};
use simt::count::roofline::{GPUS, Gpu, gpu};
use simt::isa::Unit;
use std::collections::{BTreeMap, BTreeSet};

/// A picture with the name of its file.
#[derive(Clone, Debug)]
pub struct Chart {
    /// `roofline-softmax-topk.svg`.
    pub file: String,
    /// The picture.
    pub svg: String,
}

/// Everything that can be drawn of the files, oldest first; what cannot be says why.
///
/// # Errors
/// When a picture that has something to show cannot be drawn.
pub fn charts(mut files: Vec<Results>) -> Result<(Vec<Chart>, Vec<String>), PlotError> {
    files.sort_by_key(|results| results.machine.unix_time);
    let (mut charts, mut blank) = (Vec::new(), Vec::new());
    let Some(newest) = files.last() else {
        return Ok((charts, vec!["no results".into()]));
    };
    let tasks: BTreeSet<&str> = newest.rows.iter().map(|row| row.task.as_str()).collect();
    for task in tasks {
        match roofline(newest, task)? {
            Some(svg) => charts.push(Chart {
                file: format!("roofline-{task}.svg"),
                svg,
            }),
            None => blank.push(format!(
                "{task}: no floating-point operations, so no roofline"
            )),
        }
    }
    match peers(newest)? {
        Some(svg) => charts.push(Chart {
            file: "peers.svg".into(),
            svg,
        }),
        None => blank.push("no peer was timed beside us: no ratios".into()),
    }
    match history(&files)? {
        Some(svg) => charts.push(Chart {
            file: "history.svg".into(),
            svg,
        }),
        None => blank.push("nothing was timed on a GPU: no history".into()),
    }
    Ok((charts, blank))
}

/// The GPU of a file, its roof where it was measured.
fn roof(results: &Results) -> Gpu {
    let named = results.machine.gpu.as_deref().unwrap_or_default();
    let plain = |text: &str| text.replace(' ', "").to_lowercase();
    let found = GPUS.iter().find(|g| plain(named).contains(&plain(g.name)));
    let known = found.or_else(|| gpu(&results.bounds_for));
    let known = *known.unwrap_or(&GPUS[0]);
    match results.ceilings {
        None => known,
        Some(ceilings) => Gpu {
            bandwidth: ceilings.copy_gbs / 1e3,
            tensor_half: ceilings.matmul_tflops.unwrap_or(known.tensor_half),
            ..known
        },
    }
}

/// What does most of a row's operations.
fn unit(row: &Row) -> Option<Unit> {
    let all = [
        Unit::Half,
        Unit::Single,
        Unit::Double,
        Unit::TensorHalf,
        Unit::TensorTf32,
        Unit::TensorDouble,
        Unit::TensorByteFloat,
        Unit::TensorInteger,
    ];
    let name = row.counted.unit.as_deref()?;
    all.into_iter().find(|unit| format!("{unit:?}") == name)
}

/// Timed rungs where they were timed; the others as high as their counts allow at best.
fn roofline(results: &Results, task: &str) -> Result<Option<String>, PlotError> {
    let gpu = roof(results);
    let rows: Vec<&Row> = results.rows.iter().filter(|row| row.task == task).collect();
    let mut points = Vec::new();
    let mut floor = f64::INFINITY;
    for row in &rows {
        let counted = &row.counted;
        let measured = row.tflops().zip(row.compulsory_bytes);
        let (intensity, rate, least) = match (measured, row.plain_flops) {
            (Some((rate, bytes)), Some(flops)) => {
                let intensity = flops as f64 / bytes as f64;
                (intensity, rate, intensity)
            }
            _ if counted.operations > 0 && counted.moved_bytes > 0 && unit(row).is_some() => {
                let operations = counted.operations as f64;
                let intensity = operations / counted.moved_bytes as f64;
                let peak = gpu.peak(unit(row).unwrap_or(Unit::Single));
                let least = operations / counted.compulsory_bytes as f64;
                (intensity, (intensity * gpu.bandwidth).min(peak), least)
            }
            _ => continue,
        };
        floor = floor.min(least);
        points.push(Point {
            name: format!("{} {}", row.rung, row.shape),
            intensity,
            rate,
            measured: row.timed.is_some(),
        });
    }
    let unit = rows.iter().rev().find_map(|row| unit(row));
    if points.is_empty() {
        return Ok(None);
    }
    let title = format!("{task}, {}", when(results));
    let drawn = Roofline {
        title: &title,
        gpu: &gpu,
        unit: unit.unwrap_or(Unit::Single),
        floor,
        points: &points,
    };
    drawn.svg().map(Some)
}

fn when(results: &Results) -> String {
    let commit = results.machine.commit.as_deref().unwrap_or("no commit");
    let short: String = commit.chars().take(9).collect();
    match &results.machine.gpu {
        Some(gpu) => format!("{gpu}, {short}"),
        None => format!("no GPU, {short}"),
    }
}

/// Peer ÷ ours, by shape: above 1 ours is faster.
fn peers(results: &Results) -> Result<Option<String>, PlotError> {
    let Some(peers) = &results.peers else {
        return Ok(None);
    };
    let best = results.best();
    let mut labels: Vec<String> = Vec::new();
    let mut series: BTreeMap<&str, Series> = BTreeMap::new();
    for peer in &peers.rows {
        let ours = best
            .get(peer.shape.as_str())
            .and_then(|row| row.timed.as_ref());
        let (Some(ours), Some(theirs)) = (ours, &peer.timed) else {
            continue;
        };
        let at = labels.iter().position(|label| *label == peer.shape);
        let at = at.unwrap_or_else(|| {
            labels.push(peer.shape.clone());
            labels.len() - 1
        });
        let one = series.entry(peer.peer.as_str()).or_insert_with(|| Series {
            name: peer.peer.clone(),
            values: Vec::new(),
            joined: false,
        });
        one.values.push((at, theirs.median_us / ours.median_us));
    }
    if labels.is_empty() {
        return Ok(None);
    }
    let series: Vec<Series> = series.into_values().collect();
    let title = format!("peer ÷ ours, {}", when(results));
    lines(&title, "times as long", &labels, &series).map(Some)
}

/// How near each shape's fastest rung came to its ceiling, by commit.
fn history(files: &[Results]) -> Result<Option<String>, PlotError> {
    let timed = |results: &&Results| results.rows.iter().any(|row| row.timed.is_some());
    let files: Vec<&Results> = files.iter().filter(timed).collect();
    let labels: Vec<String> = files
        .iter()
        .map(|results| {
            let commit = results.machine.commit.as_deref().unwrap_or("?");
            commit.chars().take(9).collect()
        })
        .collect();
    let mut series: BTreeMap<&str, Series> = BTreeMap::new();
    for (at, results) in files.iter().enumerate() {
        for (shape, row) in results.best() {
            let Some((share, _)) = results.share(row) else {
                continue;
            };
            let one = series.entry(shape).or_insert_with(|| Series {
                name: shape.to_owned(),
                values: Vec::new(),
                joined: true,
            });
            one.values.push((at, 100.0 * share));
        }
    }
    if series.is_empty() {
        return Ok(None);
    }
    let series: Vec<Series> = series.into_values().collect();
    let title = "share of the measured copy or matmul, by commit";
    lines(title, "%", &labels, &series).map(Some)
}
