//! Names that NEXMark draws from, and the channels with their addresses.

use std::sync::LazyLock;

use super::draw::Draw;

pub const FIRST_NAMES: [&str; 11] = [
    "peter", "paul", "luke", "john", "saul", "vicky", "kate", "julie", "sarah", "deiter", "walter",
];

pub const LAST_NAMES: [&str; 9] =
    ["shultz", "abrams", "spencer", "white", "bartels", "walton", "smith", "jones", "noris"];

pub const CITIES: [&str; 10] = [
    "phoenix",
    "los angeles",
    "san francisco",
    "boise",
    "portland",
    "bend",
    "redmond",
    "seattle",
    "kent",
    "cheyenne",
];

pub const STATES: [&str; 6] = ["az", "ca", "id", "or", "wa", "wy"];

/// Where half of all bids come from.
pub const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];

/// Channels that share the other half.
pub const CHANNELS: u64 = 10_000;

/// A channel's name and the address its bids come from.
pub struct Channel {
    pub name: String,
    pub url: String,
}

/// The hot channels, then all others: the same for every seed.
pub static CHANNEL_LIST: LazyLock<Vec<Channel>> = LazyLock::new(|| {
    let hot = HOT_CHANNELS.iter().enumerate();
    let hot = hot.map(|(at, name)| Channel { name: (*name).to_string(), url: url(at as u64) });
    let cold = (0..CHANNELS).map(|at| {
        let mut url = url(at);
        // Nine in ten say which channel they are; the query that looks for it finds gaps.
        if Draw::new(u64::MAX, at).below(10) > 0 {
            url.push_str(&format!("&channel_id={}", i64::from((at as i32).reverse_bits()).abs()));
        }
        Channel { name: format!("channel-{at}"), url }
    });
    hot.chain(cold).collect()
});

fn url(channel: u64) -> String {
    let mut draw = Draw::new(0, channel);
    let mut url = String::from("https://www.nexmark.com");
    for _ in 0..3 {
        url.push('/');
        let length = 3 + draw.below(3) as usize;
        draw.letters(length, &mut url);
    }
    url.push_str("/item.htm?query=1");
    url
}
