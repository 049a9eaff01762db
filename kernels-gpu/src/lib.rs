//! Device code. Compiled for `nvptx64-nvidia-cuda` it holds the kernels; compiled for the host it
//! holds only their launch constants.
#![no_std]
