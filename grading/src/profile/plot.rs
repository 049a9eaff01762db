//! Pictures, as SVG text: the roofline of a task, ratios to peers, history by commit.

use plotters::coord::ranged1d::Ranged;
use plotters::prelude::*;
use simt::count::roofline::Gpu;
use simt::isa::Unit;

/// A point under the roof.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// What it is: a rung.
    pub name: String,
    /// Operations a byte.
    pub intensity: f64,
    /// 10¹² operations a second.
    pub rate: f64,
    /// Whether the rate was measured on that GPU; else it is what counts allow at best.
    pub measured: bool,
}

/// A roofline: the roof, points, and the intensity of the task itself.
#[derive(Clone, Debug)]
pub struct Roofline<'a> {
    /// Above the picture.
    pub title: &'a str,
    /// Whose roof.
    pub gpu: &'a Gpu,
    /// Whose peak is the roof's flat part.
    pub unit: Unit,
    /// Operations a byte where each byte moves once: no kernel of the task stands further right
    /// without computing more.
    pub floor: f64,
    /// Rungs.
    pub points: &'a [Point],
}

/// A line of values over labelled positions.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// In the legend.
    pub name: String,
    /// Position and value; what was not measured is left out.
    pub values: Vec<(usize, f64)>,
    /// Whether a line joins them: positions follow each other.
    pub joined: bool,
}

/// The picture could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("the plot cannot be drawn: {0}")]
pub struct PlotError(String);

fn failed(error: impl std::fmt::Display) -> PlotError {
    PlotError(error.to_string())
}

const SIZE: (u32, u32) = (860, 520);

/// The least and greatest positive finite number, a factor of `margin` apart from the ends.
fn span(values: impl Iterator<Item = f64>, margin: f64) -> Option<(f64, f64)> {
    let good = values.filter(|v| v.is_finite() && *v > 0.0);
    let (least, most) = good.fold((f64::INFINITY, 0.0_f64), |(least, most), v| {
        (least.min(v), most.max(v))
    });
    (most > 0.0).then_some((least / margin, most * margin))
}

impl Roofline<'_> {
    /// Where the slope meets the flat part, in operations a byte.
    pub fn ridge(&self) -> f64 {
        self.gpu.peak(self.unit) / self.gpu.bandwidth
    }

    /// The roof at an intensity, in 10¹² operations a second.
    pub fn roof(&self, intensity: f64) -> f64 {
        (intensity * self.gpu.bandwidth).min(self.gpu.peak(self.unit))
    }

    /// As SVG text.
    ///
    /// # Errors
    /// When nothing can be drawn: no positive peak, no positive intensity.
    pub fn svg(&self) -> Result<String, PlotError> {
        let peak = self.gpu.peak(self.unit);
        let xs = self.points.iter().map(|p| p.intensity);
        let xs = xs.chain([self.floor, self.ridge()]);
        let Some((left, right)) = span(xs, 3.0).filter(|_| peak > 0.0) else {
            return Err(failed("no operations, or the GPU lacks the unit"));
        };
        let ys = self.points.iter().map(|p| p.rate);
        let ys = ys.chain([peak, self.roof(left)]);
        let Some((low, high)) = span(ys, 2.0) else {
            return Err(failed("no rate to draw"));
        };
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            area.fill(&WHITE).map_err(failed)?;
            let mut chart = ChartBuilder::on(&area)
                .caption(self.title, ("sans-serif", 20))
                .margin(12)
                .x_label_area_size(44)
                .y_label_area_size(72)
                .build_cartesian_2d((left..right).log_scale(), (low..high).log_scale())
                .map_err(failed)?;
            chart
                .configure_mesh()
                .x_desc("operations a byte")
                .y_desc("10¹² operations a second")
                .x_label_formatter(&|x| short(*x))
                .y_label_formatter(&|y| short(*y))
                .light_line_style(WHITE)
                .draw()
                .map_err(failed)?;
            let ridge = self.ridge().clamp(left, right);
            let roof = [left, ridge, right].map(|x| (x, self.roof(x)));
            chart
                .draw_series(LineSeries::new(roof, BLACK.stroke_width(2)))
                .map_err(failed)?
                .label(format!("roof of the {}", self.gpu.name))
                .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], BLACK.stroke_width(2)));
            if self.floor > 0.0 {
                let floor = [(self.floor, low), (self.floor, self.roof(self.floor))];
                chart
                    .draw_series(LineSeries::new(floor, RED.stroke_width(1)))
                    .map_err(failed)?
                    .label("the task: every byte once")
                    .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], RED));
            }
            for (index, point) in self.points.iter().enumerate() {
                let colour = Palette99::pick(index).to_rgba();
                let at = (point.intensity, point.rate);
                let style = if point.measured {
                    colour.filled()
                } else {
                    colour.stroke_width(2)
                };
                chart
                    .draw_series([Circle::new(at, 5, style)])
                    .map_err(failed)?
                    .label(if point.measured {
                        format!("{}: measured", point.name)
                    } else {
                        format!("{}: at best", point.name)
                    })
                    .legend(move |(x, y)| Circle::new((x + 8, y), 4, style));
            }
            legend(&mut chart)?;
            area.present().map_err(failed)?;
        }
        Ok(svg)
    }
}

/// Lines over labelled positions, from zero up.
///
/// # Errors
/// When there is no value.
pub fn lines(
    title: &str,
    unit: &str,
    labels: &[String],
    series: &[Series],
) -> Result<String, PlotError> {
    let values = series.iter().flat_map(|s| s.values.iter().map(|v| v.1));
    let Some((_, most)) = span(values, 1.15) else {
        return Err(failed("no value to draw"));
    };
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let last = labels.len().saturating_sub(1) as f64;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(72)
            .build_cartesian_2d(-0.5..last + 0.5, 0.0..most)
            .map_err(failed)?;
        let label = |x: &f64| {
            let whole = (x - x.round()).abs() < f64::EPSILON && *x >= 0.0;
            let label = whole.then(|| labels.get(x.round() as usize)).flatten();
            label.cloned().unwrap_or_default()
        };
        chart
            .configure_mesh()
            .y_desc(unit)
            .x_labels(labels.len().clamp(2, 12))
            .x_label_formatter(&label)
            .light_line_style(WHITE)
            .draw()
            .map_err(failed)?;
        for (index, one) in series.iter().enumerate() {
            let colour = Palette99::pick(index).to_rgba();
            let at = |(x, y): &(usize, f64)| (*x as f64, *y);
            let joined = one.values.iter().filter(|_| one.joined).map(at);
            chart
                .draw_series(LineSeries::new(joined, colour.stroke_width(2)))
                .map_err(failed)?
                .label(&one.name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2))
                });
            let dots = one
                .values
                .iter()
                .map(|v| Circle::new(at(v), 4, colour.filled()));
            chart.draw_series(dots).map_err(failed)?;
        }
        legend(&mut chart)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

fn legend<'a, X, Y>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>,
) -> Result<(), PlotError>
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 13))
        .draw()
        .map_err(failed)
}

/// A number in as few characters as an axis has room for.
fn short(value: f64) -> String {
    match value {
        v if v >= 1000.0 => format!("{v:.0}"),
        v if v >= 1.0 => format!("{}", (v * 100.0).round() / 100.0),
        v => format!("{v:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simt::count::roofline::gpu;

    fn roofline(points: &[Point]) -> Roofline<'_> {
        Roofline {
            title: "softmax-topk",
            gpu: gpu("H200").expect("known"),
            unit: Unit::Single,
            floor: 2.5,
            points,
        }
    }

    #[test]
    fn the_roof_is_the_lower_of_memory_and_unit() {
        let one = roofline(&[]);
        assert_eq!(one.ridge(), 66.9 / 4.8);
        assert_eq!(one.roof(1.0), 4.8);
        assert_eq!(one.roof(1000.0), 66.9);
    }

    #[test]
    fn a_picture_names_every_point_and_says_which_were_measured() {
        let point = |name: &str, measured| Point {
            name: name.into(),
            intensity: 2.0,
            rate: 9.0,
            measured,
        };
        let svg = roofline(&[point("Warp", false), point("Block", true)])
            .svg()
            .expect("drawn");
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for text in [
            "softmax-topk",
            "Warp: at best",
            "Block: measured",
            "roof of the H200",
        ] {
            assert!(svg.contains(text), "{text} is not in the picture");
        }
    }

    #[test]
    fn nothing_to_draw_is_an_error_and_not_an_empty_picture() {
        let unit = Unit::TensorByteFloat;
        let a100 = gpu("A100").expect("known");
        let without = Roofline {
            unit,
            gpu: a100,
            ..roofline(&[])
        };
        assert!(without.svg().is_err());
        assert!(lines("history", "GB/s", &[], &[]).is_err());
    }

    #[test]
    fn lines_skip_what_was_not_measured() {
        let labels = ["a1", "b2", "c3"].map(String::from);
        let series = Series {
            name: "ours".into(),
            values: vec![(0, 100.0), (2, 250.0)],
            joined: true,
        };
        let svg = lines("history", "GB/s", &labels, &[series]).expect("drawn");
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(svg.contains("b2"), "the position keeps its place");
    }
}
