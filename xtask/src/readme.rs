//! `cargo xtask readme`: the README's table of times, from the newest results file. Where there is
//! none, or nothing in it was timed on a GPU, it says so; nothing is estimated.

use serde_json::Value;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

const BEGIN: &str = "<!-- begin: cargo xtask readme -->";
const END: &str = "<!-- end: cargo xtask readme -->";

/// Writes the table, or with `check` says whether it is what it should be.
pub(crate) fn run(root: &Path, check: bool) -> Result<(), String> {
    let path = root.join("README.md");
    let text = read(&path)?;
    let wanted = with_table(
        &text,
        &table(newest(&root.join("benches/results"))?.as_ref()),
    )?;
    if text == wanted {
        return Ok(());
    }
    if check {
        return Err(
            "README.md: the table of times is not that of the newest file in benches/results: run \
             `cargo xtask readme`"
                .into(),
        );
    }
    fs::write(&path, wanted).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// The text with another table between the marks.
fn with_table(text: &str, table: &str) -> Result<String, String> {
    let missing =
        || format!("README.md has no table of times: `{BEGIN}` and `{END}` are not there");
    let begin = text.find(BEGIN).ok_or_else(missing)? + BEGIN.len();
    let end = text[begin..].find(END).ok_or_else(missing)? + begin;
    Ok(format!("{}\n{table}{}", &text[..begin], &text[end..]))
}

/// The results file that was written last, by its own words, among those with times from a GPU.
fn newest(folder: &Path) -> Result<Option<(String, Value)>, String> {
    let Ok(files) = fs::read_dir(folder) else {
        return Ok(None);
    };
    let is_json = |path: &PathBuf| path.extension().is_some_and(|e| e == "json");
    let mut best: Option<(u64, String, Value)> = None;
    for path in files.flatten().map(|file| file.path()).filter(is_json) {
        let value: Value = serde_json::from_str(&read(&path)?)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let time = value["machine"]["unix_time"].as_u64();
        let (Some(1), Some(time)) = (value["schema"].as_u64(), time) else {
            return Err(format!("{}: no results of schema 1", path.display()));
        };
        if best.as_ref().is_none_or(|(known, ..)| time > *known) {
            let name = path.file_name().unwrap_or_default();
            best = Some((time, name.to_string_lossy().into_owned(), value));
        }
    }
    Ok(best.map(|(_, name, value)| (name, value)))
}

/// `2026-11-26` of seconds since 1970 (Hinnant's days to civil).
fn date(seconds: u64) -> String {
    let z = (seconds / 86_400) as i64 + 719_468;
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (d, m) = (
        day - (153 * month + 2) / 5 + 1,
        if month < 10 { month + 3 } else { month - 9 },
    );
    let y = year + era * 400 + i64::from(m <= 2);
    format!("{y:04}-{m:02}-{d:02}")
}

fn table(newest: Option<&(String, Value)>) -> String {
    let nothing = "Not yet measured on a GPU.\n".to_owned();
    let Some((file, results)) = newest else {
        return nothing;
    };
    let time = |row: &Value| row["timed"]["median_us"].as_f64();
    let rows = results["rows"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let timed: Vec<&Value> = rows.iter().filter(|row| time(row).is_some()).collect();
    let gpu = results["machine"]["gpu"].as_str();
    let (Some(gpu), false) = (gpu, timed.is_empty()) else {
        return nothing;
    };
    let commit = results["machine"]["commit"].as_str().unwrap_or("unknown");
    let short: String = commit.chars().take(9).collect();
    let dirty = if commit.ends_with("-dirty") {
        ", with changes"
    } else {
        ""
    };
    let copy = results["ceilings"]["copy_gbs"].as_f64();
    let matmul = results["ceilings"]["matmul_tflops"].as_f64();
    let shown =
        |x: Option<f64>, digits: usize| x.map_or(String::new(), |x| format!("{x:.digits$}"));
    let mut out = String::new();
    let _ = writeln!(
        out,
        "Measured on {} on {gpu}, commit `{short}`{dirty} (`benches/results/{file}`). In the same \
         run a copy reached {} GB/s, a bf16 matmul {} TFLOP/s. The fastest rung of each shape; what \
         was not measured is blank.\n",
        date(results["machine"]["unix_time"].as_u64().unwrap_or(0)),
        copy.map_or("(blank)".into(), |x| format!("{x:.0}")),
        matmul.map_or("(blank)".into(), |x| format!("{x:.0}")),
    );
    out.push_str("| shape | rung | µs (10 to 90 %) | GB/s | % of copy | TFLOP/s | % of matmul |\n");
    out.push_str("|---|---|---|---|---|---|---|\n");
    let mut shapes: Vec<&str> = Vec::new();
    for row in rows {
        let shape = row["shape"].as_str().unwrap_or_default();
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
    }
    for shape in shapes {
        let of_shape = timed.iter().filter(|row| row["shape"] == shape);
        let best = of_shape.min_by(|a, b| {
            let key = |row: &Value| time(row).unwrap_or(f64::INFINITY);
            key(a).total_cmp(&key(b))
        });
        let Some(row) = best else {
            let _ = writeln!(out, "| {shape} | | | | | | |");
            continue;
        };
        let us = time(row).unwrap_or(f64::NAN);
        let gbs = row["compulsory_bytes"]
            .as_f64()
            .map(|bytes| bytes / us / 1e3);
        let tflops = row["plain_flops"].as_f64().map(|flops| flops / us / 1e6);
        let share = |mine: Option<f64>, all: Option<f64>| {
            mine.zip(all).map(|(mine, all)| 100.0 * mine / all)
        };
        let _ = writeln!(
            out,
            "| {shape} | {} | {us:.1} ({} to {}) | {} | {} | {} | {} |",
            row["rung"].as_str().unwrap_or_default(),
            shown(row["timed"]["p10_us"].as_f64(), 1),
            shown(row["timed"]["p90_us"].as_f64(), 1),
            shown(gbs, 0),
            shown(share(gbs, copy), 1),
            shown(tflops, 1),
            shown(share(tflops, matmul), 1),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn synthetic(name: &str) -> (String, Value) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../grading/tests/profile");
        let text = read(&path.join(name)).expect("it is there");
        (name.into(), serde_json::from_str(&text).expect("JSON"))
    }

    #[test]
    fn what_was_not_measured_is_not_estimated() {
        assert_eq!(table(None), "Not yet measured on a GPU.\n");
        let (name, mut results) = synthetic("results-new.json");
        // Counted, and on no GPU.
        for row in results["rows"].as_array_mut().expect("rows") {
            row["timed"] = Value::Null;
        }
        let counted = (name, results);
        assert_eq!(table(Some(&counted)), "Not yet measured on a GPU.\n");
    }

    #[test]
    fn the_table_has_date_gpu_and_commit_and_the_fastest_rungs() {
        let table = table(Some(&synthetic("results-new.json")));
        let head = "Measured on 2033-05-18 on Synthetic H200, commit `222222222` \
                    (`benches/results/results-new.json`)";
        assert!(table.starts_with(head), "{table}");
        // 40 MB in 12.5 µs are 3200 GB/s, 80 % of 4000; 80 MFLOP are 6.4 TFLOP/s, 0.8 % of 800.
        let rows = "| synthetic-rows | Split | 12.5 (12.2 to 13.1) | 3200 | 80.0 | 6.4 | 0.8 |\n";
        assert!(table.contains(rows), "{table}");
        assert!(
            table.contains("| synthetic-walk | | | | | | |\n"),
            "{table}"
        );
        assert!(!table.contains("Block"), "{table}");
    }

    #[test]
    fn the_newest_file_counts_by_its_own_clock() {
        let folder = std::env::temp_dir().join(format!("readme-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        assert_eq!(newest(&folder).expect("read"), None);
        for (name, to) in [
            ("results-new.json", "a.json"),
            ("results-old.json", "b.json"),
        ] {
            let text = synthetic(name).1.to_string();
            fs::write(folder.join(to), text).expect("written");
        }
        let (name, _) = newest(&folder).expect("read").expect("there are two");
        assert_eq!(name, "a.json");
        fs::write(folder.join("c.json"), "{}").expect("written");
        assert!(
            newest(&folder).is_err(),
            "a file that is none is not passed over"
        );
        fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn the_table_goes_between_the_marks_and_a_stale_one_is_found() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let new = with_table(&text, "new\n").expect("marks");
        assert_eq!(new, format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert_eq!(with_table(&new, "new\n").as_ref(), Ok(&new));
        assert!(with_table("no marks", "new\n").is_err());
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let known = [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_798_675_200, "2026-12-31"),
        ];
        for (seconds, day) in known {
            assert_eq!(date(seconds), day);
        }
    }
}
