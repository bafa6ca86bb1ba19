package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// serveRelay is the yardstick: it reads a request whole, sends it to the upstream with a
// fresh request, and copies the answer back, flushing each piece of a stream. It does
// nothing else, so what a node costs more is what a node does.
func serveRelay(listen, upstream string) error {
	client := &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 512, IdleConnTimeout: 90 * time.Second, DisableCompression: true,
	}}
	handler := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		out, err := http.NewRequestWithContext(r.Context(), r.Method, upstream+r.URL.Path, bytes.NewReader(body))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		out.Header.Set("Content-Type", "application/json")
		out.Header.Set("Authorization", r.Header.Get("Authorization"))
		if v := r.Header["Anthropic-Version"]; v != nil {
			out.Header["Anthropic-Version"] = v
		}
		res, err := client.Do(out)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer func() { _ = res.Body.Close() }()
		copyAnswer(w, res)
	}
	srv := &http.Server{Addr: listen, Handler: http.HandlerFunc(handler), ReadHeaderTimeout: 10 * time.Second}
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func copyAnswer(w http.ResponseWriter, res *http.Response) {
	w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
	w.WriteHeader(res.StatusCode)
	if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		_, _ = io.Copy(w, res.Body) // the client sees a cut answer; there is nobody else to tell
		return
	}
	flush := http.NewResponseController(w)
	buf := make([]byte, 32<<10)
	for {
		n, err := res.Body.Read(buf)
		if _, werr := w.Write(buf[:n]); werr != nil || flush.Flush() != nil || err != nil {
			return
		}
	}
}
