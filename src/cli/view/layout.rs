//! Which columns of a table have room, and how wide they are.

/// Columns of the screen that a column takes beside its own: two blanks and a line.
pub const FRAME: usize = 3;

/// Text is cut to this before columns are left out.
pub const LEAST: usize = 12;

/// What a column asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// To be shown in full.
    pub all: usize,
    /// To be shown at all.
    pub least: usize,
}

/// What is shown.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    /// Columns with their widths, by their order.
    pub shown: Vec<(usize, usize)>,
    /// How many of them stand left of the columns that are left out.
    pub left: usize,
    pub hidden: usize,
}

/// Gives columns their widths. Long ones are cut before any is left out; those left out stand in
/// the middle, where one more column says so.
pub fn layout(wants: &[Want], room: usize) -> Layout {
    let all = |wants: &[Want]| wants.iter().map(|want| want.least + FRAME).sum::<usize>() + 1;
    if all(wants) <= room {
        let widths = widths(wants, room - 1);
        let shown = widths.into_iter().enumerate().collect();
        return Layout { shown, left: wants.len(), hidden: 0 };
    }
    // The line at the left, and the column that says that there are more.
    let room = room.saturating_sub(1 + 1 + FRAME);
    let (mut left, mut right, mut used) = (0, 0, 0);
    while left + right < wants.len() {
        let from_right = left + right > 0 && (left + right) % 3 == 2;
        let next = if from_right { wants.len() - 1 - right } else { left };
        let needed = wants[next].least + FRAME;
        if used + needed > room && left > 0 {
            break;
        }
        used += needed;
        if from_right { right += 1 } else { left += 1 }
    }
    let columns = (0..left).chain(wants.len() - right..wants.len());
    let kept: Vec<Want> = columns.clone().map(|column| wants[column]).collect();
    let shown = columns.zip(widths(&kept, room)).collect();
    Layout { shown, left, hidden: wants.len() - left - right }
}

/// Widths of columns that share this room: as much as each asks for, where there is a limit the
/// same one for all that are longer.
fn widths(wants: &[Want], room: usize) -> Vec<usize> {
    let limited = |limit: usize| {
        wants.iter().map(move |want| want.all.min(limit).max(want.least)).collect::<Vec<_>>()
    };
    let fits = |widths: &[usize]| widths.iter().map(|width| width + FRAME).sum::<usize>() <= room;
    let longest = wants.iter().map(|want| want.all).max().unwrap_or(0);
    // The largest limit that fits: what is below it does, what is above does not.
    let (mut low, mut high) = (0, longest);
    while low < high {
        let limit = (low + high).div_ceil(2);
        match fits(&limited(limit)) {
            true => low = limit,
            false => high = limit - 1,
        }
    }
    let mut widths = limited(low);
    if !fits(&widths) {
        // A single column that is wider than the screen.
        for width in &mut widths {
            *width = (*width).min(room.saturating_sub(FRAME)).max(1);
        }
        return widths;
    }
    for column in 0..widths.len() {
        widths[column] += usize::from(widths[column] < wants[column].all);
        if !fits(&widths) {
            widths[column] -= 1;
            break;
        }
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(widths: &[(usize, usize)]) -> Vec<Want> {
        widths.iter().map(|&(all, least)| Want { all, least }).collect()
    }

    #[test]
    fn long_columns_share_what_is_left() {
        let three = wants(&[(5, 5), (40, 12), (90, 12)]);
        let wide = layout(&three, 200);
        assert_eq!(wide.shown, [(0, 5), (1, 40), (2, 90)]);
        let narrow = layout(&three, 80);
        assert_eq!(narrow.shown, [(0, 5), (1, 33), (2, 32)]);
        assert_eq!((narrow.left, narrow.hidden), (3, 0));
    }

    #[test]
    fn columns_are_left_out_in_the_middle() {
        let many = wants(&[(10, 10); 9]);
        let some = layout(&many, 60);
        let shown: Vec<usize> = some.shown.iter().map(|(column, _)| *column).collect();
        assert_eq!(shown, [0, 1, 2, 8]);
        assert_eq!((some.left, some.hidden), (3, 5));
        let used: usize = some.shown.iter().map(|(_, width)| width + FRAME).sum();
        assert!(used + 1 + 1 + FRAME <= 60, "{used}");
    }

    #[test]
    fn one_column_is_always_shown() {
        let one = layout(&wants(&[(100, 50), (100, 50)]), 20);
        assert_eq!(one.shown, [(0, 12)]);
        assert_eq!((one.left, one.hidden), (1, 1));
        assert_eq!(layout(&wants(&[(100, 12)]), 5).shown, [(0, 1)]);
        assert_eq!(layout(&[], 80), Layout { shown: Vec::new(), left: 0, hidden: 0 });
    }
}
