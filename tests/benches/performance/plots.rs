//! The plots of the page.

use plotters::prelude::*;

use crate::scale::PAIRS;
use crate::table::Table;

const SIZE: (u32, u32) = (720, 360);

/// Files and what is in them.
pub(crate) fn all(table: &Table) -> Vec<(&'static str, String)> {
    let rates = ["sign-1", "sign-8-threads", "sign-8-processes"];
    let names = ["1 thread", "8 threads", "8 processes"];
    vec![
        (
            "scale.svg",
            lines("C_Initialize and a search by label, microseconds, by key pairs", &[table.scale(0), table.scale(1)]),
        ),
        (
            "memory.svg",
            lines(
                "memory of the process, MB, by key pairs: before and after all were found",
                &[table.scale(5), table.scale(6)],
            ),
        ),
        ("signatures.svg", bars("signatures a second behind a resource manager", table, &rates, &names)),
        ("commands.svg", bars("commands on the chip of one life", table, &["life-commands"], &["one life"])),
    ]
}

/// Values by the number of pairs, whose axis is logarithmic.
fn lines(title: &str, series: &[Vec<f64>]) -> String {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).unwrap();
        let most = series.iter().flatten().copied().fold(0.0, f64::max) * 1.1;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 16))
            .margin(12)
            .x_label_area_size(32)
            .y_label_area_size(56)
            .build_cartesian_2d((PAIRS[0] as f64..PAIRS[2] as f64).log_scale(), 0.0..most)
            .unwrap();
        chart.configure_mesh().x_label_formatter(&|x| format!("{x:.0}")).draw().unwrap();
        for (number, values) in series.iter().enumerate() {
            let points = PAIRS.iter().map(|pairs| *pairs as f64).zip(values.iter().copied());
            chart.draw_series(LineSeries::new(points, Palette99::pick(number).stroke_width(2)).point_size(3)).unwrap();
        }
        area.present().unwrap();
    }
    svg
}

/// Ours beside the other module's.
fn bars(title: &str, table: &Table, rows: &[&str], names: &[&str]) -> String {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).unwrap();
        let sides: Vec<_> = std::iter::once(&table.ours).chain(&table.peer).collect();
        let value = |side: usize, row: &str| sides[side].median(row).unwrap_or(0.0);
        let all = (0..sides.len()).flat_map(|side| rows.iter().map(move |row| value(side, row)));
        let most = all.fold(0.0, f64::max) * 1.1;
        let mut chart = ChartBuilder::on(&area)
            .caption(format!("{title}: tpm2-cryptoki, then tpm2-pkcs11"), ("sans-serif", 16))
            .margin(12)
            .x_label_area_size(32)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..rows.len() as f64, 0.0..most)
            .unwrap();
        let name = |x: &f64| {
            names
                .get(*x as usize)
                .filter(|_| x.fract() > 0.4 && x.fract() < 0.6)
                .map_or_else(String::new, |name| (*name).to_owned())
        };
        chart.configure_mesh().disable_x_mesh().x_labels(4 * rows.len() + 1).x_label_formatter(&name).draw().unwrap();
        for side in 0..sides.len() {
            let bar = |(place, row): (usize, &&str)| {
                let left = place as f64 + 0.15 + 0.35 * side as f64;
                Rectangle::new([(left, 0.0), (left + 0.3, value(side, row))], Palette99::pick(side).filled())
            };
            chart.draw_series(rows.iter().enumerate().map(bar)).unwrap();
        }
        area.present().unwrap();
    }
    svg
}
