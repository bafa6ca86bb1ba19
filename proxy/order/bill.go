package order

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// Place is where the batches of a provider are: path and query, below its address, as in "v1/messages/batches".
type Place string

// The last parts of the paths at which batches are.
const (
	batches = "batches"
	jobs    = "batch/jobs" // Mistral's
)

// Show is the path of a batch, and the query.
func (p Place) Show(id string) (path, query string) {
	at, query, _ := strings.Cut(string(p), "?")
	return at + "/" + url.PathEscape(id), query
}

// File is the path of what is in a file beside the batches, and the query.
func (p Place) File(id string) (path, query string) {
	at, query, _ := strings.Cut(string(p), "?")
	at = strings.TrimSuffix(strings.TrimSuffix(at, jobs), batches)
	return at + "files/" + url.PathEscape(id) + "/content", query
}

// Results is the path of what a batch has made, and the query.
func (p Place) Results(d *Due) (path, query string) {
	if d.Media {
		return strings.TrimSuffix(string(p), batches) + "files/" + url.PathEscape(d.File) + ":download", "alt=media"
	}
	if d.File != "" {
		return p.File(d.File)
	}
	path, query = p.Show(d.ID) // Anthropic's are no file
	return path + "/results", query
}

// Due is a batch of a provider's that is over, as its answers tell of it.
type Due struct {
	ID   string
	File string // of its output; "": it has none
	None bool   // it has made nothing
	// Lines are those of its output, where the answer that tells of it has them, and Media says that File is one of Google's.
	Lines []json.RawMessage
	Media bool
}

// Dues reads those out of an answer of a provider's: one batch, or a page of them.
func Dues(answer []byte) (all []Due) {
	type shown struct {
		ID         string `json:"id"`
		File       string `json:"output_file_id"`
		Output     string `json:"output_file"` // Mistral's
		Object     string `json:"object"`
		Status     string `json:"status"`
		Type       string `json:"type"`
		Processing string `json:"processing_status"`
	}
	var page struct {
		shown
		Data []shown `json:"data"`
	}
	if json.Unmarshal(answer, &page) != nil {
		return nil
	}
	all = operations(answer)
	for _, b := range append(page.Data, page.shown) {
		switch {
		case b.Object == "batch" && over(b.Status):
			file := b.File + b.Output // never both
			all = append(all, Due{ID: b.ID, File: file, None: file == ""})
		case b.Type == "message_batch" && b.Processing == "ended":
			all = append(all, Due{ID: b.ID})
		}
	}
	return all
}

// operation is a batch in Google's words.
type operation struct {
	Name     string `json:"name"`
	Done     bool   `json:"done"`
	Response struct {
		File   string `json:"responsesFile"`
		Inline struct {
			Lines []json.RawMessage `json:"inlinedResponses"`
		} `json:"inlinedResponses"`
	} `json:"response"`
}

// operations are the batches of Google's that an answer tells of and that are over.
func operations(answer []byte) (all []Due) {
	var page struct {
		operation
		Operations []operation `json:"operations"`
	}
	if json.Unmarshal(answer, &page) != nil {
		return nil // in other words
	}
	for _, op := range append(page.Operations, page.operation) {
		if due, ok := op.due(); ok {
			all = append(all, due)
		}
	}
	return all
}

// due is the batch, if it is one that is over.
func (o *operation) due() (d Due, ok bool) {
	id, ok := strings.CutPrefix(o.Name, "batches/")
	if !ok || !o.Done {
		return d, false
	}
	d = Due{ID: id, File: strings.TrimPrefix(o.Response.File, "files/"), Lines: o.Response.Inline.Lines}
	d.Media = d.File != ""
	d.None = !d.Media && len(d.Lines) == 0
	return d, true
}

// over says whether a status is one that does not change any more. What was made before is paid, too.
func over(status string) bool {
	switch status {
	case "completed", "failed", "expired", "cancelled", // OpenAI's
		"SUCCESS", "FAILED", "TIMEOUT_EXCEEDED", "CANCELLED": // Mistral's
		return true
	}
	return false
}

// Bill is what the requests of a batch have used that one model has answered.
type Bill struct {
	Model    string    // as the provider calls it
	Usage    llm.Usage // of all together
	Requests int64
	Cost     resource.Money
}

// Bills are those of a batch.
type Bills struct {
	// Price is what one request costs, which the size of its own prompt decides; nil: nothing.
	Price func(model string, u llm.Usage) resource.Money
	All   []Bill // by model, in the order of the lines
}

// Add adds what a line of the batch's output says that it used. One that says nothing, as those that failed, is free.
func (b *Bills) Add(line []byte) {
	model, u, ok := used(line)
	if !ok {
		return
	}
	u.Source, u.Service = llm.UsageProvider, llm.ServiceBatch
	i := slices.IndexFunc(b.All, func(b Bill) bool { return b.Model == model })
	if i < 0 {
		i = len(b.All)
		b.All = append(b.All, Bill{Model: model, Usage: llm.Usage{Source: u.Source, Service: u.Service}})
	}
	to := &b.All[i]
	to.Requests++
	add(&to.Usage, &u)
	if b.Price != nil {
		to.Cost = resource.Money(min(int64(to.Cost)+int64(b.Price(model, u)), int64(resource.MaxMoney)))
	}
}

// used is what a line has used, of OpenAI's, of Anthropic's or of Google's.
func used(line []byte) (model string, u llm.Usage, ok bool) {
	var l struct {
		Response json.RawMessage `json:"response"`
		Result   struct {
			Message json.RawMessage `json:"message"`
		} `json:"result"`
	}
	var r struct {
		Status int             `json:"status_code"`
		Body   json.RawMessage `json:"body"`
	}
	if json.Unmarshal(line, &l) != nil || l.Response != nil && json.Unmarshal(l.Response, &r) != nil {
		return "", u, false
	}
	body := l.Result.Message
	switch {
	case body != nil:
		u, ok = llm.ReadUsage(llm.DialectAnthropic, body)
	case r.Status == http.StatusOK:
		body = r.Body
		read, err := llm.Read(body)
		u, ok = read.Usage, err == nil && read.HasUsage
	case r.Status == 0 && l.Response != nil:
		body = l.Response
		u, ok = llm.ReadUsage(llm.DialectGemini, body)
	}
	if !ok {
		return "", u, false
	}
	var said struct {
		Model   string `json:"model"`
		Version string `json:"modelVersion"` // Google's
	}
	_ = json.Unmarshal(body, &said) // its syntax is read
	return said.Model + said.Version, u, true
}

// add adds the tokens of a line.
func add(to, u *llm.Usage) {
	to.Input += u.Input
	to.CacheRead += u.CacheRead
	to.CacheWrite += u.CacheWrite
	to.CacheWrite1h += u.CacheWrite1h
	to.CacheReadAudio += u.CacheReadAudio
	to.CacheReadImage += u.CacheReadImage
	to.AudioInput += u.AudioInput
	to.ImageInput += u.ImageInput
	to.Output += u.Output
	to.Reasoning += u.Reasoning
	to.AudioOutput += u.AudioOutput
	to.ImageOutput += u.ImageOutput
	to.Units.Queries += u.Units.Queries
}
