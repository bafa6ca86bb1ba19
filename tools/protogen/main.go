// Command protogen generates Go code from .proto files without protoc: it compiles them
// with protocompile and hands the result to protoc-gen-go and protoc-gen-go-grpc, which
// `go tool` builds.
//
// Usage: go -C tools run ./protogen FOLDER
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

var generators = []struct{ name, parameter string }{
	{"protoc-gen-go", "paths=source_relative"},
	{"protoc-gen-go-grpc", "paths=source_relative"},
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: protogen FOLDER")
		os.Exit(2)
	}
	if err := generate(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func generate(ctx context.Context, dir string) error {
	names, files, err := compile(ctx, dir)
	if err != nil {
		return err
	}
	for _, g := range generators {
		if err := run(ctx, dir, g.name, &pluginpb.CodeGeneratorRequest{
			FileToGenerate: names,
			Parameter:      &g.parameter,
			ProtoFile:      files,
		}); err != nil {
			return fmt.Errorf("run %s: %w", g.name, err)
		}
	}
	return nil
}

func compile(ctx context.Context, dir string) ([]string, []*descriptorpb.FileDescriptorProto, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.proto"))
	if err != nil {
		return nil, nil, err
	}
	names := make([]string, len(paths))
	for i, p := range paths {
		names[i] = filepath.Base(p)
	}
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{dir}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	compiled, err := compiler.Compile(ctx, names...)
	if err != nil {
		return nil, nil, err
	}
	files := make([]*descriptorpb.FileDescriptorProto, len(compiled))
	for i, f := range compiled {
		files[i] = protodesc.ToFileDescriptorProto(f)
		if src, ok := f.(interface {
			FileDescriptorProto() *descriptorpb.FileDescriptorProto
		}); ok {
			files[i] = src.FileDescriptorProto() // with the comments
		}
	}
	return names, files, nil
}

func run(ctx context.Context, dir, tool string, req *pluginpb.CodeGeneratorRequest) error {
	in, err := proto.Marshal(req)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "tool", tool)
	cmd.Stdin = bytes.NewReader(in)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	var resp pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &resp); err != nil {
		return err
	}
	if resp.Error != nil {
		return fmt.Errorf("%s", resp.GetError())
	}
	for _, f := range resp.File {
		if err := os.WriteFile(filepath.Join(dir, f.GetName()), []byte(f.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
