"""Tests of the measuring instrument: its kernels compute what a native build computes, its figures are what they are called."""
