package order

import (
	"encoding/json"
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

// used is what a line has used, of OpenAI's or of Anthropic's.
func used(line []byte) (model string, u llm.Usage, ok bool) {
	var l struct {
		Response struct {
			Status int             `json:"status_code"`
			Body   json.RawMessage `json:"body"`
		} `json:"response"`
		Result struct {
			Message json.RawMessage `json:"message"`
		} `json:"result"`
	}
	if json.Unmarshal(line, &l) != nil {
		return "", u, false
	}
	body := l.Result.Message
	if body != nil {
		u, ok = llm.ReadUsage(llm.DialectAnthropic, body)
	} else if body = l.Response.Body; l.Response.Status == 200 {
		r, err := llm.Read(body)
		u, ok = r.Usage, err == nil && r.HasUsage
	}
	if !ok {
		return "", u, false
	}
	var said struct {
		Model string `json:"model"`
	}
	_ = json.Unmarshal(body, &said) // its syntax is read
	return said.Model, u, true
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
