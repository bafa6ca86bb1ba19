package hclfile

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/conclave-llm/conclave/config"
)

// Read reads a configuration file in HCL. An error in its contents is a *config.Error.
func Read(s *config.Source, src []byte) (*config.File, error) {
	f, diags := hclparse.NewParser().ParseHCL(src, s.Path)
	if f == nil || diags.HasErrors() {
		return nil, newError(diags, s.Path, src, f)
	}
	body, ok := f.Body.(*hclsyntax.Body)
	if !ok {
		return nil, fmt.Errorf("read configuration: %s is not native HCL", s.Path)
	}
	d := &decoder{Source: s, out: &config.File{Path: s.Path}, seen: map[string]hcl.Range{}}
	d.ctx = d.functions()
	d.file(body, s.NodeOnly)
	if !d.diags.HasErrors() && !s.NodeOnly {
		s.Undefined(&d.out.Resources, literals(body), d.report)
	}
	if d.diags.HasErrors() {
		return nil, newError(d.diags, s.Path, src, f)
	}
	return d.out, nil
}

func newError(diags hcl.Diagnostics, path string, src []byte, f *hcl.File) *config.Error {
	shown := &hcl.File{Bytes: hide(src, f)}
	if f != nil {
		shown.Body = f.Body
	}
	return config.NewError(diags, path, shown)
}
