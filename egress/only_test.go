package egress_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// elsewhere are the folders whose code is no part of a node: programs of people, and tests.
var elsewhere = []string{"cmd/conclave", "adminapi/client", "adminapi/adminapitest", "node/nodetest", "test", "tools", "egress"}

// TestOnlyWayOut looks for clients and transports of HTTP that do not say how they dial: those
// take the default, which a linter cannot see.
func TestOnlyWayOut(t *testing.T) {
	t.Parallel()
	files := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := filepath.ToSlash(strings.TrimPrefix(path, "../"))
		for _, skip := range elsewhere {
			if d.IsDir() && (rel == skip || strings.HasPrefix(filepath.Base(rel), ".") && rel != "..") {
				return fs.SkipDir
			}
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		files++
		return dialsAlone(t, path)
	})
	if err != nil || files < 100 {
		t.Errorf("looked at %d files, %v", files, err)
	}
}

func dialsAlone(t *testing.T, path string) error {
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	needed := map[string]string{"Client": "Transport", "Transport": "DialContext"}
	ast.Inspect(f, func(n ast.Node) bool {
		lit, ok := n.(*ast.CompositeLit)
		if !ok {
			return true
		}
		sel, ok := lit.Type.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if pkg, ok := sel.X.(*ast.Ident); !ok || pkg.Name != "http" || needed[sel.Sel.Name] == "" {
			return true
		}
		for _, e := range lit.Elts {
			if kv, ok := e.(*ast.KeyValueExpr); ok && kv.Key.(*ast.Ident).Name == needed[sel.Sel.Name] {
				return true
			}
		}
		t.Errorf("%s: http.%s without %s: take one of egress.Dialer", set.Position(lit.Pos()), sel.Sel.Name, needed[sel.Sel.Name])
		return true
	})
	return nil
}
