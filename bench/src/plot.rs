//! The processor time per operation as a picture.

use std::fmt::Write;

use ferryfs_bench::load::Operation;

use crate::args::Wait;
use crate::results::Results;

const COLOURS: [&str; 6] = ["#0b6e4f", "#c0504d", "#e0902f", "#7f7f7f", "#4f81bd", "#8064a2"];
const LABEL: f64 = 170.0;
const WIDTH: f64 = 560.0;
const BAR: f64 = 9.0;
const GAP: f64 = 8.0;
const TOP: f64 = 62.0;

/// Bars, each as a share of the most that any daemon needs for the operation.
pub(crate) fn render(results: &Results) -> String {
    let depth = results.deepest();
    let mut bars = String::new();
    let mut y = TOP;
    for operation in results.operations() {
        // What goes on beside is not the operation's.
        if Operation::named(operation).is_some_and(|known| known.is_beside_others()) {
            continue;
        }
        let figures = results.find(operation, Wait::Poll, depth);
        let Some(most) = figures.iter().flatten().map(|figures| figures.cpu).reduce(f64::max)
        else {
            continue;
        };
        let height = BAR * f64::from(u32::try_from(figures.len()).unwrap_or_default());
        let middle = y + height / 2.0 + 4.0;
        // Writing to a string does not fail.
        let _ = writeln!(
            bars,
            "<text x='{:.0}' y='{middle:.0}' text-anchor='end'>{operation}</text>",
            LABEL - 8.0
        );
        for (figures, colour) in figures.iter().zip(COLOURS.iter().cycle()) {
            if let Some(figures) = figures {
                let (cpu, width) = (figures.cpu, WIDTH * figures.cpu / most);
                let _ = writeln!(
                    bars,
                    "<rect x='{LABEL}' y='{y:.0}' width='{width:.1}' height='{:.0}' fill='{colour}'/>\
                     <text x='{:.0}' y='{:.0}' class='n'>{cpu:.0}</text>",
                    BAR - 1.0,
                    LABEL + width + 4.0,
                    y + BAR - 1.5,
                );
            }
            y += BAR;
        }
        y += GAP;
    }
    let mut legend = String::new();
    let mut x = LABEL;
    for (name, colour) in results.daemons.iter().zip(COLOURS.iter().cycle()) {
        let _ = writeln!(
            legend,
            "<rect x='{x:.0}' y='36' width='10' height='10' fill='{colour}'/>\
             <text x='{:.0}' y='45'>{name}</text>",
            x + 14.0
        );
        x += 34.0 + 6.6 * f64::from(u32::try_from(name.len()).unwrap_or_default());
    }
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 800 {height:.0}' \
         font-family='sans-serif' font-size='12'>\n\
         <style>.n{{font-size:8px;fill:#555}}</style>\n\
         <rect width='800' height='{height:.0}' fill='white'/>\n\
         <text x='{LABEL}' y='22' font-size='15'>CPU of the daemon per operation, ns (less is \
         better), {depth} in flight</text>\n\
         {legend}{bars}</svg>\n",
        height = y + 6.0,
    )
}
