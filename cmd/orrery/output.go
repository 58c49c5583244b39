package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// encodeJSON prints a report for programs.
func encodeJSON(w io.Writer, report any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(report)
}

// report is what a command has found, which as JSON is itself.
type report interface {
	text() string // for people
	writeCSV(w io.Writer) error
}

// writeReport prints a report as table, json or csv.
func writeReport(w io.Writer, format string, r report) error {
	return writeAs(w, format, r, report.text, func(w io.Writer, r report) error { return r.writeCSV(w) })
}

// writeAs prints what another package reports as text, which goes for any other format too, json or csv.
func writeAs[T any](w io.Writer, format string, r T, text func(T) string, writeCSV func(io.Writer, T) error) error {
	switch format {
	case "json":
		return encodeJSON(w, r)
	case "csv":
		return writeCSV(w, r)
	}
	_, err := io.WriteString(w, text(r))
	return err
}

// writeFile makes a file, or replaces what was in it. If it cannot be written whole nothing of it stays; what is no
// file, as /dev/stdout, is left alone. Errors name the flag that asks for it.
func writeFile(flag, path string, write func(f *os.File) error) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	info, err := f.Stat()
	if err == nil {
		err = write(f)
	}
	if err = errors.Join(err, f.Close()); err != nil && info != nil && info.Mode().IsRegular() {
		err = errors.Join(err, os.Remove(path))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	return nil
}

// canWrite says what would keep a file from being made, as far as that shows before there is anything to write. No path is none.
func canWrite(flag, path string) error {
	if path == "" {
		return nil
	}
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return fmt.Errorf("%s %s is a directory: name a file, as %s", flag, path, filepath.Join(path, "FILE"))
	case err == nil && !info.Mode().IsRegular():
		return nil // a pipe would wait for who reads it
	}
	_, before := os.Lstat(path) // a link that leads to nothing yet is somebody's
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	f.Close()
	if errors.Is(before, fs.ErrNotExist) {
		return os.Remove(path)
	}
	return nil
}

// canDraw says what would keep a picture from being made, as canWrite does.
func canDraw(path string) error {
	if path == "" {
		return nil
	}
	if _, err := pictureFormat(path); err != nil {
		return err
	}
	return canWrite("--plot", path)
}

// pictureFormat is what kind of picture a file's name asks for: svg or png.
func pictureFormat(path string) (string, error) {
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".svg", ".png":
		return ext[1:], nil
	}
	return "", fmt.Errorf("--plot %s: a picture is a .svg or a .png", path)
}

// draw makes a picture of the kind that its file's name asks for.
func draw(path string, draw func(w io.Writer, format string) error) error {
	format, err := pictureFormat(path)
	if err != nil {
		return err
	}
	return writeFile("--plot", path, func(f *os.File) error { return draw(f, format) })
}
