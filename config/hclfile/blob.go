package hclfile

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/conclave-llm/conclave/config"
)

// maxBlob bounds a file that blob(PATH) names.
const maxBlob = 64 << 20

// blobFunction is blob(PATH): the digest of a file, which is uploaded before the records are
// written. A relative path starts at the folder of the configuration file.
func (d *decoder) blobFunction() function.Function {
	return function.New(&function.Spec{
		Description: "The digest of a file, which is uploaded.",
		Params:      []function.Parameter{{Name: "path", Type: cty.String}},
		Type:        function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			digest, err := d.blob(args[0].AsString())
			if err != nil {
				return cty.NilVal, function.NewArgErrorf(0, "%s", err)
			}
			return cty.StringVal(digest), nil
		},
	})
}

// blob reads a file that is to be uploaded, once.
func (d *decoder) blob(path string) (string, error) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(d.Path), path)
	}
	for _, b := range d.out.Blobs {
		if b.Path == path {
			return b.Digest, nil
		}
	}
	body, err := readBlob(path)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(body)
	b := config.Blob{Path: path, Digest: hex.EncodeToString(sum[:]), Body: body}
	if !slices.ContainsFunc(d.out.Blobs, func(o config.Blob) bool { return o.Digest == b.Digest }) {
		d.out.Blobs = append(d.out.Blobs, b)
	}
	return b.Digest, nil
}

func readBlob(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() || info.Size() > maxBlob {
		return nil, fmt.Errorf("%s is a folder or has over %d bytes", path, maxBlob)
	}
	return os.ReadFile(path)
}
