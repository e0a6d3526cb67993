//! The curves as a picture.

use plotters::prelude::*;

use super::curve::{Point, mean_curve, mean_with_interval};
use crate::{Error, Result};

const SIZE: (u32, u32) = (900, 560);

/// Accuracy by labels: the mean over the seeds of each strategy, and its interval of 95 %.
pub(super) fn plot(points: &[Point]) -> Result<String> {
    let mut picture = String::new();
    draw(points, &mut picture).map_err(|error| Error::Invariant(format!("the plot could not be drawn: {error}")))?;
    Ok(picture)
}

fn draw(points: &[Point], picture: &mut String) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(picture, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let bounds = |of: fn(&Point) -> f64| {
        points.iter().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
    };
    let ((first, last), (low, high)) = (bounds(|point| f64::from(point.labels)), bounds(|point| point.accuracy));
    let margin = ((high - low) * 0.05).max(0.01);
    let mut chart = ChartBuilder::on(&area)
        .caption("Accuracy by labels: mean over seeds, interval of 95 %", ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(first..last.max(first + 1.0), (low - margin).max(0.0)..(high + margin).min(1.0))?;
    chart
        .configure_mesh()
        .x_desc("labels")
        .y_desc("accuracy")
        .x_label_formatter(&|labels| format!("{labels:.0}"))
        .y_label_formatter(&|accuracy| format!("{accuracy:.2}"))
        .draw()?;
    let mut names: Vec<&str> = Vec::new();
    for point in points {
        if !names.contains(&point.strategy.as_str()) {
            names.push(&point.strategy);
        }
    }
    for (index, name) in names.iter().enumerate() {
        let color = Palette99::pick(index).to_rgba();
        let of_strategy: Vec<&Point> = points.iter().filter(|point| point.strategy == *name).collect();
        let n_rounds = of_strategy.iter().map(|point| point.round + 1).max().unwrap_or(0);
        let (mut below, mut above, mut curve) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..n_rounds {
            let of_round: Vec<Vec<(f64, f64)>> = of_strategy
                .iter()
                .filter(|point| point.round == round)
                .map(|point| vec![(f64::from(point.labels), point.accuracy)])
                .collect();
            let heights: Vec<f64> = of_round.iter().map(|point| point[0].1).collect();
            let mean = mean_curve(&of_round);
            curve.extend_from_slice(&mean);
            if let (_, Some([from, to])) = mean_with_interval(&heights) {
                below.push((mean[0].0, from.max(0.0)));
                above.push((mean[0].0, to.min(1.0)));
            }
        }
        let outline: Vec<(f64, f64)> = below.into_iter().chain(above.into_iter().rev()).collect();
        chart.draw_series(std::iter::once(Polygon::new(outline, color.mix(0.12).filled())))?;
        chart
            .draw_series(LineSeries::new(curve, color.stroke_width(2)))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(())
}
