//! What a GPU can do at all: a copy within its memory, and a matmul of the vendor's. What kernels
//! reach is a share of that.

use super::{Cuda, driver};
use crate::{Device, Error, Result};
use cudarc::cublas::{CudaBlas, result, sys};
use cudarc::driver::{CudaSlice, DevicePtr, DevicePtrMut};
use std::time::Duration;

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceilings {
    /// Bytes a second of a copy within device memory, read and written bytes counted.
    pub copy: f64,
    /// bf16 operations a second of a matmul through cuBLAS; `None` where cuBLAS is not installed.
    pub matmul: Option<f64>,
}

/// Bytes that are copied: many times what any cache holds.
const COPIED: usize = 1 << 30;
/// Rows and columns of the matmul's factors.
const SIDE: usize = 8192;
const WARM_UP: usize = 5;
const RUNS: usize = 30;

impl Cuda {
    /// Measures both.
    ///
    /// # Errors
    /// When there is no memory, or the driver fails.
    pub fn ceilings(&self) -> Result<Ceilings> {
        let stream = self.stream();
        let room = |bytes| stream.alloc_zeros::<u8>(bytes).map_err(driver("allocate"));
        let (from, mut to) = (room(COPIED)?, room(COPIED)?);
        let copy = self.median(&mut || {
            let copied = stream.memcpy_dtod(&from, &mut to);
            copied.map_err(driver("copy within the device"))
        })?;
        drop((from, to));
        Ok(Ceilings {
            copy: 2.0 * COPIED as f64 / copy.as_secs_f64(),
            matmul: self.matmul()?,
        })
    }

    fn median(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Duration> {
        for _ in 0..WARM_UP {
            work()?;
        }
        let mut times = Vec::new();
        for _ in 0..RUNS {
            times.push(self.time(work)?);
        }
        times.sort();
        Ok(times[RUNS / 2])
    }

    fn matmul(&self) -> Result<Option<f64>> {
        // SAFETY: loads the vendor's library, whose initialisers expect this.
        if !unsafe { sys::is_culib_present() } {
            return Ok(None);
        }
        let failed = |error: result::CublasError| Error::Driver {
            doing: "multiply through cuBLAS",
            message: error.to_string(),
        };
        let stream = self.stream();
        let blas = CudaBlas::new(stream.clone()).map_err(failed)?;
        // Factors that are zeros, or all alike, cost less power and run at a higher clock.
        let numbers = factors();
        let upload = || {
            stream
                .clone_htod(&numbers)
                .map_err(driver("copy to the device"))
        };
        let (a, b) = (upload()?, upload()?);
        let mut c = stream
            .alloc_zeros::<u16>(SIDE * SIDE)
            .map_err(driver("allocate"))?;
        let time = self.median(&mut || multiply(&blas, self, &a, &b, &mut c).map_err(failed))?;
        let operations = 2.0 * (SIDE as f64).powi(3);
        Ok(Some(operations / time.as_secs_f64()))
    }
}

/// bf16 numbers between 1 and 2 of either sign, as bits.
fn factors() -> Vec<u16> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        // A full period of 2³² (Knuth's multiplier); the upper bits are the random ones.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as u16
    };
    let one = |bits: u16| 0x3f80 | (bits & 0x807f);
    (0..SIDE * SIDE).map(|_| one(next())).collect()
}

fn multiply(
    blas: &CudaBlas,
    cuda: &Cuda,
    a: &CudaSlice<u16>,
    b: &CudaSlice<u16>,
    c: &mut CudaSlice<u16>,
) -> std::result::Result<(), result::CublasError> {
    let side = SIDE as i32;
    let (one, zero) = (1.0_f32, 0.0_f32);
    let (a, _a) = a.device_ptr(cuda.stream());
    let (b, _b) = b.device_ptr(cuda.stream());
    let (c, _c) = c.device_ptr_mut(cuda.stream());
    let bf16 = sys::cudaDataType::CUDA_R_16BF;
    let (transposed, plain) = (
        sys::cublasOperation_t::CUBLAS_OP_T,
        sys::cublasOperation_t::CUBLAS_OP_N,
    );
    // SAFETY: three matrices of SIDE² 16-bit numbers on this device, with SIDE as their leading
    // dimension; the scalars are f32 on the host, as the compute type says, and outlive the call.
    unsafe {
        result::gemm_ex(
            *blas.handle(),
            transposed,
            plain,
            side,
            side,
            side,
            (&raw const one).cast(),
            a as *const _,
            bf16,
            side,
            b as *const _,
            bf16,
            side,
            (&raw const zero).cast(),
            c as *mut _,
            bf16,
            side,
            sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_numbers_of_one_size_and_both_signs() {
        let some = factors();
        let value = |bits: u16| f32::from_bits(u32::from(bits) << 16);
        let numbers = some.iter().map(|bits| value(*bits));
        assert!(numbers.clone().all(|x| (1.0..2.0).contains(&x.abs())));
        let negative = numbers.filter(|x| *x < 0.0).count() as f64;
        let share = negative / some.len() as f64;
        assert!((0.49..0.51).contains(&share), "{share}");
    }
}
