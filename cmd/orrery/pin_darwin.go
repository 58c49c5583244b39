package main

import "errors"

const canPin = false

func pin(int) error { return errors.New("macOS does not pin processes to processors") }
