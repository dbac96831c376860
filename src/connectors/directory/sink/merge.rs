//! Which small files are worth being made one.

/// Picks, of the sizes of a partition's files in their order, those to make one file of; none where it is not worth it.
///
/// Files of like size are merged once there are `most` of them, or once they fill a file: so a row is written again only
/// when its file has become many times as large, and a partition keeps few files, whatever came in whatever pieces.
pub(super) fn pick(sizes: &[u64], most: usize, target: u64) -> Vec<usize> {
    let is_small = |size: u64| size < target / 2;
    let mut classes: [Vec<usize>; 16] = Default::default();
    for (i, size) in sizes.iter().enumerate().filter(|(_, size)| is_small(**size)) {
        classes[class(*size)].push(i);
    }
    for mut class in classes {
        let bytes: u64 = class.iter().map(|i| sizes[*i]).sum();
        if class.len() < 2 || class.len() < most && bytes < target {
            continue;
        }
        let mut total = 0;
        class.retain(|i| {
            let fits = total < target;
            total += sizes[*i];
            fits
        });
        return class;
    }
    Vec::new()
}

/// Each class reaches to 16 times its smallest: what 16 files are merged to is of a higher one.
fn class(size: u64) -> usize {
    (size.max(1 << 8).ilog2() as usize - 8) / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merge_of_small_files_bounds_file_count_and_rewrites() {
        let target = 1 << 20;
        let (mut files, mut written, mut most_files) = (Vec::<u64>::new(), 0, 0);
        let total = 20_000 * 500_u64;
        for _ in 0..20_000 {
            files.push(500);
            let picked = pick(&files, 16, target);
            let merged: u64 = picked.iter().map(|i| files[*i]).sum();
            assert!(picked.len() != 1 && merged < target * 2);
            if !picked.is_empty() {
                let mut i = 0;
                files.retain(|_| (!picked.contains(&i), i += 1).0);
                files.push(merged);
                written += merged;
            }
            most_files = most_files.max(files.iter().filter(|f| **f < target / 2).count());
        }
        assert_eq!(files.iter().sum::<u64>(), total);
        assert!(most_files < 50, "{most_files}");
        assert!(written < total * 4, "{written}");
    }

    #[test]
    fn merge_leaves_large_and_single_files() {
        assert_eq!(pick(&[600, 700, 499], 2, 1_000), Vec::<usize>::new());
        assert_eq!(pick(&[600, 400, 300, 499], 2, 1_000), [1, 2, 3]);
        assert_eq!(pick(&[], 0, 0), Vec::<usize>::new());
        assert_eq!(pick(&[400; 9], 100, 1_000), [0, 1, 2]);
    }
}
