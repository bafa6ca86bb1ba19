package llm

// ReadAt reads a whole answer of an endpoint that OpenAI has, or others have after its example:
// Read, with what the answers of media, rerankings and documents tell of what they cost.
func ReadAt(e Endpoint, body []byte) (Report, error) {
	r, err := Read(body)
	if err != nil {
		return r, err
	}
	switch e {
	case Images, ImageEdits, ImageVariations:
		if u, ok := ReadUsage(DialectImages, body); ok {
			r.Usage, r.HasUsage = u, true
		}
		r.count(countItems(body, "data"), func(u *Units, n int64) { u.OutputImages = n })
	case Transcriptions, Translations:
		r.count(durationOf(body), func(u *Units, n int64) { u.InputMS = max(u.InputMS, n) })
	case Responses:
		if r.Usage.Total() == 0 { // what passed is counted in its place
			r.outputs(body)
		}
	case OCR:
		r.count(pagesOf(body), func(u *Units, n int64) { u.Pages = n })
	case Decisions, SystemOne, Extraction:
		r.Usage.Service = ServiceDecisions
	case Rerank:
		if u, ok := ReadUsage(DialectCohere, body); ok && !r.HasUsage {
			r.Usage, r.HasUsage = u, true
		}
	}
	return r, nil
}

// count takes in a number of units that the answer tells, if it tells any.
func (r *Report) count(n int64, set func(*Units, int64)) {
	if n <= 0 {
		return
	}
	set(&r.Usage.Units, n)
	r.Usage.Source, r.HasUsage = UsageProvider, true
}

// countItems counts the items of an array at the top of an answer.
func countItems(body []byte, name string) int64 {
	s := scanner{b: body}
	s.enter('{')
	items := int64(0)
	for n := 0; s.next('}', n); n++ {
		if string(s.key()) != name {
			s.value()
			continue
		}
		for m := 0; enterIf(&s, '[', m) && s.next(']', m); m++ {
			s.value()
			items++
		}
	}
	return items
}

// durationOf is how long the audio was that an answer in the verbose form is about, in
// milliseconds; 0 if it does not say.
func durationOf(body []byte) int64 {
	s := scanner{b: body}
	s.enter('{')
	for n := 0; s.next('}', n); n++ {
		if string(s.key()) == "duration" {
			return s.duration()
		}
		s.value()
	}
	return 0
}

// pagesOf is how many pages of a document were read, as Mistral says it; 0 if it is not said.
func pagesOf(body []byte) (pages int64) {
	s := scanner{b: body}
	s.enter('{')
	for n := 0; s.next('}', n); n++ {
		if string(s.key()) != "usage_info" {
			s.value()
			continue
		}
		for m := 0; enterObject(&s, m) && s.next('}', m); m++ {
			if string(s.key()) == "pages_processed" {
				pages = max(s.count(), 0)
			} else {
				s.value()
			}
		}
	}
	return pages
}

// duration takes a number of seconds, which some write as a string, and gives milliseconds.
func (s *scanner) duration() int64 {
	if s.space() != '"' {
		return s.seconds()
	}
	v := s.value()
	if len(v) < 3 {
		return 0
	}
	t := scanner{b: v[1 : len(v)-1]}
	return t.seconds()
}

// MediaMeter reads the events of streams of images, speech and transcriptions, each of which
// may be the last: they end with their bytes. Only Endpoint is set. It is for one stream.
type MediaMeter struct {
	Endpoint Endpoint

	report Report
}

// Event implements Meter. What was made is whole when an event says that it is done.
func (m *MediaMeter) Event(e Event) (Report, error) {
	if string(e.Data) == "[DONE]" {
		return Report{Done: true}, nil
	}
	one, err := Read(e.Data)
	if err != nil {
		return Report{}, err
	}
	m.report.HasError, m.report.Seen = one.HasError, 1
	kind, text := eventKind(e.Data)
	m.report.TextBytes = text
	switch kind {
	case "speech.audio.done", "transcript.text.done":
		m.report.Finished = 1
	case "image_generation.completed", "image_edit.completed":
		m.report.Finished = 1
		m.report.Usage.Units.OutputImages++
		m.report.Usage.Source, m.report.HasUsage = UsageProvider, true
	}
	if u, ok := ReadUsage(m.dialect(), e.Data); ok {
		m.add(u)
	}
	return m.report, nil
}

func (m *MediaMeter) dialect() Dialect {
	if m.Endpoint == Images || m.Endpoint == ImageEdits {
		return DialectImages
	}
	return DialectOpenAI
}

// add takes in the usage of one event: each image of a stream tells its own.
func (m *MediaMeter) add(u Usage) {
	t := &m.report.Usage
	t.Input += u.Input
	t.CacheRead += u.CacheRead
	t.AudioInput += u.AudioInput
	t.ImageInput += u.ImageInput
	t.Output += u.Output
	t.AudioOutput += u.AudioOutput
	t.ImageOutput += u.ImageOutput
	t.Units.InputMS += u.Units.InputMS
	t.Source, m.report.HasUsage = UsageProvider, true
}

// eventKind reads the type of an event, and the size of the text that it brings.
func eventKind(data []byte) (kind string, text int64) {
	s := scanner{b: data}
	s.enter('{')
	for n := 0; s.next('}', n); n++ {
		switch string(s.key()) {
		case "type":
			if v := s.value(); len(v) > 2 {
				kind = string(v[1 : len(v)-1])
			}
		case "delta":
			text = max(int64(len(s.value()))-2, 0)
		default:
			s.value()
		}
	}
	return kind, text
}
