package batch

import (
	"bytes"
	"encoding/json"

	"github.com/conclave-llm/conclave/llm"
)

// Due is a batch of a provider's that is over, as its answers tell of it.
type Due struct {
	ID   string `json:"id"`
	File string `json:"output_file_id"`
}

// Dues reads those out of an answer of a provider's: one batch, or a page of them.
func Dues(answer []byte) (all []Due) {
	type shown struct {
		Due
		Object string `json:"object"`
		Status string `json:"status"`
	}
	var page struct {
		shown
		Data []shown `json:"data"`
	}
	if json.Unmarshal(answer, &page) != nil {
		return nil
	}
	for _, b := range append(page.Data, page.shown) {
		over := b.Status == "completed" || b.Status == "expired" || b.Status == "cancelled" // what was made before is paid, too
		if b.Object == "batch" && over && b.File != "" {
			all = append(all, b.Due)
		}
	}
	return all
}

// Bill is what a batch has used.
type Bill struct {
	Model    string // that answered, as the provider calls it
	Usage    llm.Usage
	Requests int
}

// BillOf adds up what the lines of a batch's output say that they used. Lines that say nothing, as those
// that failed, are free.
func BillOf(output []byte) (b Bill) {
	for line := range bytes.Lines(output) {
		var l struct {
			Response struct {
				Status int             `json:"status_code"`
				Body   json.RawMessage `json:"body"`
			} `json:"response"`
		}
		if json.Unmarshal(line, &l) != nil || l.Response.Status != 200 {
			continue
		}
		r, err := llm.Read(l.Response.Body)
		if err != nil || !r.HasUsage {
			continue
		}
		if b.Model == "" {
			var said struct {
				Model string `json:"model"`
			}
			_ = json.Unmarshal(l.Response.Body, &said) // Read has read it
			b.Model = said.Model
		}
		b.Requests++
		add(&b.Usage, &r.Usage)
	}
	if b.Requests > 0 {
		b.Usage.Source, b.Usage.Service = llm.UsageProvider, llm.ServiceBatch
	}
	return b
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
}
