package llm

// Place is where a request goes, at a provider.
type Place struct {
	Endpoint Endpoint
	Model    string // at the provider
	Stream   bool
	Options  map[string]string // of the deployment, such as "api_version"; read only
	Base     string            // what the path follows, without a slash at its end
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
