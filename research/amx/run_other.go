//go:build !linux || !amd64

package main

import "errors"

func run(string, []string) error {
	return errors.New("instructions of x86-64 are carried out on Linux on x86-64 only")
}
