package main

import "errors"

func processors() ([]int, error) { return nil, nil }

func pin([]int) error { return errors.New("macOS does not pin processes to processors") }
