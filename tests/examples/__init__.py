"""Tests of what newcomers meet first: the example plugins and the README."""
