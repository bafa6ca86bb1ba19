package config

// File is what a configuration file says.
type File struct {
	Path      string
	Node      *Node // nil: the file has no node block
	Resources Resources
	Blobs     []Blob    // files that expressions name with blob(PATH)
	Ignored   []Problem // keys that Options.IgnoreUnknown left out
}

// Blob is a local file that a configuration names with blob(PATH): it is uploaded before the
// records that hold its digest.
type Blob struct {
	Path   string
	Digest string // SHA-256, hexadecimal
	Body   []byte
}

// BlobBodies are the contents of the files that the configuration names with blob(PATH).
func (f *File) BlobBodies() (all [][]byte) {
	for _, b := range f.Blobs {
		all = append(all, b.Body)
	}
	return all
}
