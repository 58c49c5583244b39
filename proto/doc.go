// Package proto holds the protobuf messages that nodes exchange, and the Go code made from them.
//
// After a change to a .proto file run go generate here; it needs protoc and protoc-gen-go.
package proto

//go:generate sh -c "protoc --go_out=. --go_opt=paths=source_relative *.proto"
