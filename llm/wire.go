package llm

import (
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Place is where a request goes, at a provider.
type Place struct {
	Endpoint Endpoint
	Model    string // at the provider
	Stream   bool
	Options  map[string]string // of the deployment, such as "api_version"; read only
	Base     string            // what the path follows, without a slash at its end
}

// ModelPath is a model's name as a path, such as "/openai/whisper-1", for vendors whose names have several
// parts. It leads nowhere else: parts of dots are left out.
func ModelPath(model string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(model, "/") {
		if part != "" && part != "." && part != ".." {
			b.WriteString("/" + url.PathEscape(part))
		}
	}
	return b.String()
}

// Meter reads of a stream's events what the gateway must know: usage, errors, the end. It is
// made for one stream.
type Meter interface {
	// Event reads one event that has data. Report.Usage is the usage of all events so far, and
	// Report.Done says that the event ends the stream.
	Event(e Event) (Report, error)
}

// EventReader splits the bytes of a stream into events; *SSEReader is one.
type EventReader interface {
	// Next returns the next event, valid until the next call; io.EOF is the end of the bytes.
	Next() (Event, error)
}

// Sent is a request as a provider wants it, where that may be more than JSON at the endpoint's path.
type Sent struct {
	Body   []byte
	Pieces [][]byte // the body in pieces, in the place of Body, for what is not copied
	Type   string   // of the body; "": JSON
	Path   string   // what follows the address, with a query; "": the endpoint's
	Header http.Header
	Bytes  bool // the answer is bytes of any kind, which are relayed as they come
}

// Step is a further request of an exchange that takes several, such as the question whether what was
// ordered is ready.
type Step struct {
	Method string // "": POST
	Path   string // what follows the address, with a query
	Body   []byte // JSON; nil: none
	Wait   time.Duration
	Bytes  bool // the answer is bytes of any kind, which are relayed as they come
	Stream bool // the answer is a stream, with which the exchange ends
	// URL is an address in full, in the place of Path, that the provider has named, and in which its
	// permission stands: of what was made, or where something is put, which then is Body, of no type that
	// is said. The request has no key and no headers of the exchange. The address must be that of the
	// requests before, or a public one over TLS.
	URL string
	// Root is the address that Path follows, in the place of the first request's, where the provider
	// names one. It counts only if it is of the same owner; "": the first's.
	Root string
	// Cancel is the path that gives up what was ordered, if nobody waits for it any more; "": none.
	// CancelMethod is how it is asked; "": POST.
	Cancel, CancelMethod string
	// Remove are paths of what the exchange left at the provider, which are deleted at its end.
	Remove []string
}
