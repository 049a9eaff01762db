//! Which pages are free, and how many sequences hold each of the others.

use crate::{Error, Result};

/// A free list with reference counts. The page freed last is handed out first.
#[derive(Clone, Debug)]
pub struct PageAllocator {
    free: Vec<usize>,
    holders: Vec<u32>,
}

impl PageAllocator {
    /// All of `pages` free; page 0 is handed out first.
    pub fn new(pages: usize) -> PageAllocator {
        PageAllocator {
            free: (0..pages).rev().collect(),
            holders: vec![0; pages],
        }
    }

    /// Pages there are.
    pub fn pages(&self) -> usize {
        self.holders.len()
    }

    /// Pages that nobody holds.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// How many hold a page; 0 for one that is free or none.
    pub fn holders(&self, page: usize) -> u32 {
        self.holders.get(page).copied().unwrap_or(0)
    }

    /// Takes `count` free pages for one holder each.
    ///
    /// # Errors
    /// When there are not as many; none is taken then.
    pub fn allocate(&mut self, count: usize) -> Result<Vec<usize>> {
        if count > self.free.len() {
            return Err(Error::OutOfPages {
                asked: count,
                free: self.free.len(),
                pages: self.pages(),
            });
        }
        let taken: Vec<usize> = self.free.drain(self.free.len() - count..).rev().collect();
        for page in &taken {
            self.holders[*page] = 1;
        }
        Ok(taken)
    }

    /// One more holder of a page in use.
    ///
    /// # Errors
    /// When it is free, or none.
    pub fn retain(&mut self, page: usize) -> Result<()> {
        self.expect_used(page)?;
        self.holders[page] += 1;
        Ok(())
    }

    /// One holder less; the page is free when it was the last.
    ///
    /// # Errors
    /// When it is free already, or none.
    pub fn release(&mut self, page: usize) -> Result<()> {
        self.expect_used(page)?;
        self.holders[page] -= 1;
        if self.holders[page] == 0 {
            self.free.push(page);
        }
        Ok(())
    }

    fn expect_used(&self, page: usize) -> Result<()> {
        if self.holders(page) > 0 {
            return Ok(());
        }
        Err(Error::Parameter {
            name: "page",
            got: page.to_string(),
            must_be: "a page that somebody holds".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_back_when_the_last_holder_leaves() {
        let mut pages = PageAllocator::new(3);
        assert_eq!(pages.allocate(2).expect("there are three"), [0, 1]);
        let error = pages.allocate(2).expect_err("one is left");
        assert_eq!(error.to_string(), "out of pages: 2 asked, 1 of 3 free");
        pages.retain(0).expect("held");
        pages.release(0).expect("held");
        assert_eq!((pages.free(), pages.holders(0)), (1, 1));
        pages.release(0).expect("held");
        assert_eq!(pages.allocate(2).expect("two again"), [0, 2]);
    }

    #[test]
    fn a_page_is_not_released_twice() {
        let mut pages = PageAllocator::new(1);
        assert!(pages.release(0).is_err() && pages.retain(0).is_err());
        assert!(pages.retain(7).is_err());
        pages.allocate(1).expect("it is free");
        pages.release(0).expect("held");
        assert!(pages.release(0).is_err());
        assert_eq!(pages.free(), 1);
    }
}
