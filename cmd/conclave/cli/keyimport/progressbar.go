package keyimport

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// barWidth is how many characters the bar itself has.
const barWidth = 30

// progressBar tells on standard error how far long work has come: on a terminal one line
// that is written again and again, else a line now and then.
type progressBar struct {
	w     io.Writer
	live  bool // a terminal
	every time.Duration
	now   func() time.Time
	start time.Time
	last  time.Time
	drawn bool
}

func newProgressBar(w io.Writer) *progressBar {
	p := &progressBar{w: w, every: 5 * time.Second, now: time.Now}
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			p.live, p.every = true, 100*time.Millisecond
		}
	}
	p.start = p.now()
	p.last = p.start
	return p
}

// show tells what is done, if it is time; part is from 0 to 1, or less than 0 if nobody
// knows the end.
func (p *progressBar) show(part float64, done string) {
	now := p.now()
	if now.Sub(p.last) < p.every {
		return
	}
	p.last = now
	p.draw(part, done)
}

func (p *progressBar) draw(part float64, done string) {
	text := done
	if part >= 0 {
		part = min(part, 1)
		full := int(part * barWidth)
		text = fmt.Sprintf("[%s%s] %3.0f%%  %s", strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), part*100, done)
		if part > 0 && part < 1 {
			left := time.Duration(float64(p.now().Sub(p.start)) * (1 - part) / part)
			text += ", " + left.Round(time.Second).String() + " left"
		}
	}
	if !p.live {
		fmt.Fprintln(p.w, text)
		return
	}
	p.drawn = true
	fmt.Fprintf(p.w, "\r%s\x1b[K", text)
}

// clear takes the line away, so that others can be written.
func (p *progressBar) clear() {
	if p.live && p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.drawn = false
	}
}
