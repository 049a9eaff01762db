//! Which pages are free, and how many sequences hold each of the others.

use crate::error::{Error, Result};

/// A page number.
pub type PageId = usize;

/// A free list with reference counts. The page freed last is handed out first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageAllocator {
    free: Vec<PageId>,
    holders: Vec<u32>,
}

impl PageAllocator {
    /// All of `pages` free; page 0 is handed out first.
    pub fn new(pages: usize) -> Self {
        Self {
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

    /// How many hold `page`; zero for one that is free.
    pub fn holders(&self, page: PageId) -> Result<u32> {
        self.check(page).map(|()| self.holders[page])
    }

    /// Takes a free page for one holder.
    pub fn allocate(&mut self) -> Result<PageId> {
        let pages = self.pages();
        let page = self.free.pop().ok_or(Error::OutOfPages {
            asked: 1,
            free: 0,
            pages,
        })?;
        self.holders[page] = 1;
        Ok(page)
    }

    /// One more holder of a page in use.
    pub fn retain(&mut self, page: PageId) -> Result<()> {
        self.check_used(page)?;
        self.holders[page] += 1;
        Ok(())
    }

    /// One holder less; the page is free when it was the last.
    pub fn release(&mut self, page: PageId) -> Result<()> {
        self.check_used(page)?;
        self.holders[page] -= 1;
        if self.holders[page] == 0 {
            self.free.push(page);
        }
        Ok(())
    }

    fn check(&self, page: PageId) -> Result<()> {
        if page < self.pages() {
            return Ok(());
        }
        let allowed = format!("below the {} pages there are", self.pages());
        Err(Error::argument("page", page, allowed))
    }

    fn check_used(&self, page: PageId) -> Result<()> {
        match self.holders(page)? {
            0 => Err(Error::argument("page", page, "a page in use")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_back_when_the_last_holder_leaves() {
        let mut pages = PageAllocator::new(2);
        let (a, b) = (pages.allocate().unwrap(), pages.allocate().unwrap());
        assert_eq!((a, b), (0, 1));
        let error = pages.allocate().unwrap_err();
        assert_eq!(error.to_string(), "out of pages: 1 asked, 0 of 2 free");
        pages.retain(a).unwrap();
        pages.release(a).unwrap();
        assert_eq!((pages.free(), pages.holders(a).unwrap()), (0, 1));
        pages.release(a).unwrap();
        assert_eq!(pages.allocate().unwrap(), a);
    }

    #[test]
    fn double_release_and_foreign_pages_are_errors() {
        let mut pages = PageAllocator::new(1);
        assert_eq!(pages.release(0).unwrap_err().about(), "page");
        assert!(pages.retain(0).is_err() && pages.retain(1).is_err());
        assert!(pages.holders(7).is_err());
        pages.allocate().unwrap();
        pages.release(0).unwrap();
        assert!(pages.release(0).is_err());
        assert_eq!(pages.free(), 1);
    }
}
