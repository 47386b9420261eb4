//! DER taken apart and put together again, so that a bent piece stands in a whole whose lengths are right.

use super::Rng;
use super::mutate::bend;

/// An element.
#[derive(Clone, Debug)]
struct Node {
    tag: u8,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    Raw(Vec<u8>),
    /// Elements, after the octet that a BIT STRING has first.
    Nodes(Option<u8>, Vec<Node>),
}

/// Deeper than any honest file, and shallow enough not to use up the stack here.
const DEPTH: usize = 40;

/// Bends DER, if it is any.
pub(super) fn mutate_der(der: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let mut nodes = parse(der, 0).filter(|nodes| !nodes.is_empty())?;
    for _ in 0..=rng.below(3) {
        let count = count(&nodes);
        if count == 0 {
            break;
        }
        let donor = nth(&mut nodes, &mut rng.below(count)).map(|(nodes, at)| nodes[at].clone())?;
        let (siblings, at) = nth(&mut nodes, &mut rng.below(count))?;
        change(siblings, at, donor, rng);
    }
    let mut out = Vec::new();
    nodes.iter().for_each(|node| encode(node, &mut out));
    Some(out)
}

fn change(siblings: &mut Vec<Node>, at: usize, donor: Node, rng: &mut Rng) {
    const TAGS: [u8; 16] = [1, 2, 3, 4, 5, 6, 0x0c, 0x13, 0x1e, 0x30, 0x31, 0x80, 0xa0, 0xa1, 0xa3, 0x1f];
    match rng.below(10) {
        0 => {
            siblings.remove(at);
        }
        1 => siblings.insert(at, donor),
        2 => siblings[at] = donor,
        3 => siblings[at].tag = *rng.pick(&TAGS),
        4 => {
            let other = rng.below(siblings.len());
            siblings.swap(at, other);
        }
        5 => siblings[at].body = Body::Raw(Vec::new()),
        6 => {
            let deep = if rng.one_in(4) { 3000 } else { 1 + rng.below(40) };
            let mut inner = Vec::new();
            encode(&siblings[at], &mut inner);
            for _ in 0..deep {
                let mut outer = Vec::new();
                encode(&Node { tag: 0x30, body: Body::Raw(inner) }, &mut outer);
                inner = outer;
            }
            siblings[at] = Node { tag: 0x30, body: Body::Raw(inner) };
        }
        7 => {
            const NUMBERS: [&[u8]; 8] = [
                &[0],
                &[1],
                &[0xff],
                &[0x7f, 0xff, 0xff, 0xff],
                &[0, 0xff, 0xff, 0xff, 0xff],
                &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                &[0, 0, 0, 1],
                &[],
            ];
            siblings[at].body = Body::Raw(rng.pick(&NUMBERS).to_vec());
        }
        _ => {
            let mut bytes = Vec::new();
            match &siblings[at].body {
                Body::Raw(raw) => bytes.extend(raw),
                Body::Nodes(..) => encode(&siblings[at], &mut bytes),
            }
            siblings[at].body = Body::Raw(bend(&bytes, rng));
        }
    }
}

fn count(nodes: &[Node]) -> usize {
    nodes.iter().map(|node| 1 + if let Body::Nodes(_, inner) = &node.body { count(inner) } else { 0 }).sum()
}

/// The place of an element, by its number in the order they stand there.
fn nth<'a>(nodes: &'a mut Vec<Node>, number: &mut usize) -> Option<(&'a mut Vec<Node>, usize)> {
    for at in 0..nodes.len() {
        if *number == 0 {
            return Some((nodes, at));
        }
        *number -= 1;
        let inner = if let Body::Nodes(_, inner) = &nodes[at].body { count(inner) } else { 0 };
        if *number < inner {
            let Body::Nodes(_, inner) = &mut nodes[at].body else { return None };
            return nth(inner, number);
        }
        *number -= inner;
    }
    None
}

fn parse(mut der: &[u8], depth: usize) -> Option<Vec<Node>> {
    let mut nodes = Vec::new();
    while let Some((&tag, rest)) = der.split_first() {
        let (&first, rest) = rest.split_first()?;
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (octets.iter().fold(0, |len, octet| len << 8 | usize::from(*octet)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(len)?;
        der = rest;
        let inner = |content: &[u8]| (depth < DEPTH).then(|| parse(content, depth + 1)).flatten();
        let body = match tag {
            // Wrapped DER, as PKCS #8 and PKCS #12 have it.
            4 if content.first() == Some(&0x30) => inner(content).map(|nodes| Body::Nodes(None, nodes)),
            3 if content.starts_with(&[0, 0x30]) => inner(&content[1..]).map(|nodes| Body::Nodes(Some(0), nodes)),
            tag if tag & 0x20 != 0 => inner(content).map(|nodes| Body::Nodes(None, nodes)),
            _ => None,
        };
        nodes.push(Node { tag, body: body.unwrap_or_else(|| Body::Raw(content.to_vec())) });
    }
    Some(nodes)
}

fn encode(node: &Node, out: &mut Vec<u8>) {
    let content = match &node.body {
        Body::Raw(raw) => raw.clone(),
        Body::Nodes(first, nodes) => {
            let mut content: Vec<u8> = first.iter().copied().collect();
            nodes.iter().for_each(|node| encode(node, &mut content));
            content
        }
    };
    out.push(node.tag);
    match content.len() {
        len @ 0..=0x7f => out.push(len as u8),
        len => {
            let octets = len.to_be_bytes();
            let octets = &octets[octets.iter().take_while(|octet| **octet == 0).count()..];
            out.push(0x80 | octets.len() as u8);
            out.extend(octets);
        }
    }
    out.extend(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_apart_is_put_together() {
        let mut der = vec![0x30, 0x0d, 2, 1, 5, 4, 4, 0x30, 2, 5, 0, 3, 2, 0, 9];
        der.extend([vec![0x30, 0x81, 0x83, 4, 0x81, 0x80], vec![7; 0x80]].concat());
        assert!(parse(&der[..der.len() - 1], 0).is_none(), "its last element is cut");
        let nodes = parse(&der, 0).unwrap();
        // Two of them stand in an OCTET STRING.
        assert_eq!(count(&nodes), 8);
        let mut out = Vec::new();
        nodes.iter().for_each(|node| encode(node, &mut out));
        assert_eq!(out, der);
    }
}
