package tamarind

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// trafficMax is the highest rate that Traffic takes, in actions per second.
const trafficMax = 1000

// usualTraffic is the rate when a page turns on a traffic that was off from the start.
const usualTraffic = 0.5

// traffic is whether the desk plays by itself.
type traffic struct {
	mu        sync.Mutex
	perSecond float64       // 0 while it is off
	usual     float64       // its value when turned on
	changed   chan struct{} // closed by the next change
}

// now returns the rate, and a channel that is closed when it changes.
func (t *traffic) now() (perSecond float64, changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return t.perSecond, t.changed
}

func (t *traffic) set(perSecond float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.perSecond = perSecond
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

// turn turns it on or off.
func (t *traffic) turn(on bool) {
	if !on {
		t.set(0)
		return
	}
	t.mu.Lock()
	usual := cmp.Or(t.usual, usualTraffic)
	t.mu.Unlock()
	t.set(usual)
}

// Traffic plays the desk by itself: people do plausible things at random, about
// perSecond of them a second, one at a time, until ctx ends; then it returns
// nil. A page can turn it off and on; with a rate of 0 it begins turned off. Only Cleo gets
// locked out, so that others can be played by hand meanwhile. A failing database makes it
// pause, not end; the only error is a rate outside 0 to 1000.
func (b *Business) Traffic(ctx context.Context, perSecond float64) error {
	if !(perSecond >= 0 && perSecond <= trafficMax) {
		return fmt.Errorf("traffic of %v actions per second: must be 0 to %d", perSecond, trafficMax)
	}
	b.traffic.mu.Lock()
	b.traffic.usual = perSecond
	b.traffic.mu.Unlock()
	b.traffic.set(perSecond)
	const retryIn = 2 * time.Second
	for {
		perSecond, changed := b.traffic.now()
		if perSecond == 0 {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return nil
			}
		}
		// Exponential, as the arrivals of people who don't know of each other, but never so
		// long that the desk looks dead.
		pause := time.Duration(min(rand.ExpFloat64(), 3) / perSecond * float64(time.Second))
		var refused *Problem
		if err := b.somethingHappens(ctx); err != nil && ctx.Err() == nil && !errors.As(err, &refused) {
			b.log.Warn("demo traffic pauses", "err", err, "retry_in", retryIn)
			pause = retryIn
		}
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-changed:
		case <-ctx.Done():
			wait.Stop()
			return nil
		}
		wait.Stop()
	}
}

// switchTraffic is the body and the answer of the switch on the page.
type switchTraffic struct {
	On bool `json:"on"`
}

func (b *Business) postTraffic(r *http.Request) (any, error) {
	in, err := body[switchTraffic](r)
	if err == nil {
		b.traffic.turn(in.On)
	}
	return in, err
}

// somethingHappens takes one step. A Problem is fine: people try what they may not.
func (b *Business) somethingHappens(ctx context.Context) error {
	// So many wait for review at most: Rita sees a queue, not a flood.
	const waitingMax = 6
	var waiting, approved []int64
	const deskSQL = `
		SELECT array(SELECT id FROM demo_item WHERE status = 'submitted' ORDER BY id LIMIT 20),
		       array(SELECT id FROM demo_item WHERE status = 'approved' ORDER BY id LIMIT 20)`
	if err := b.pool.QueryRow(ctx, deskSQL).Scan(&waiting, &approved); err != nil {
		return fmt.Errorf("look at the desk: %w", err)
	}
	var err error
	switch dice := rand.IntN(100); {
	case dice < 6:
		err = b.someoneSignsInOrOut(ctx)
	case dice < 9:
		err = b.cleoForgets(ctx)
	case dice < 10:
		err = b.someoneTidies(ctx)
	case dice < 40 && len(approved) > 0:
		_, err = b.Execute(ctx, "tom", pick(approved))
	case dice < 70 && len(waiting) > 0, len(waiting) >= waitingMax:
		if rand.IntN(4) == 0 {
			_, err = b.Reject(ctx, "rita", pick(waiting), pick(rejections))
		} else {
			_, err = b.Approve(ctx, "rita", pick(waiting), pick(approvals))
		}
	default:
		wish, quantity := pick(wishes), 1+rand.IntN(60)
		_, err = b.Submit(ctx, pick(submitters), Submission{Title: wish.title, Symbol: wish.symbol, Quantity: &quantity})
	}
	return err
}

// someoneSignsInOrOut leaves out the three people that the front page shows: its reader would be
// told that they have signed out themselves. Bo and Cleo have pages too (/p/bo), and there it
// happens.
func (b *Business) someoneSignsInOrOut(ctx context.Context) error {
	var name, pin string
	var signedIn bool
	const someoneSQL = `SELECT name, pin, signed_in_at IS NOT NULL FROM demo_person WHERE name IN ('bo', 'cleo') ORDER BY random() LIMIT 1`
	if err := b.pool.QueryRow(ctx, someoneSQL).Scan(&name, &pin, &signedIn); err != nil {
		return fmt.Errorf("pick a person: %w", err)
	}
	var err error
	if signedIn {
		_, err = b.LogOut(ctx, name)
	} else {
		_, err = b.LogIn(ctx, name, pin)
	}
	return err
}

// cleoForgets has Cleo try another wrong PIN, or Rita help her out.
func (b *Business) cleoForgets(ctx context.Context) error {
	var refused *Problem
	if _, err := b.Unlock(ctx, "rita", "cleo"); err == nil || !errors.As(err, &refused) {
		return err
	}
	_, err := b.LogIn(ctx, "cleo", "0000")
	return err
}

// someoneTidies deletes items that were settled over a day ago, so that a demo left alone
// for a week does not fill the disk.
func (b *Business) someoneTidies(ctx context.Context) error {
	const tidySQL = `
		DELETE FROM demo_item WHERE id IN (
			SELECT id FROM demo_item
			WHERE status IN ('traded', 'rejected') AND reviewed_at < now() - interval '1 day'
			ORDER BY reviewed_at LIMIT 1000)`
	if _, err := b.pool.Exec(ctx, tidySQL); err != nil {
		return fmt.Errorf("forget old items: %w", err)
	}
	return nil
}

func pick[T any](from []T) T { return from[rand.IntN(len(from))] }

var (
	submitters = []string{"ada", "ada", "bo", "bo", "cleo"}
	wishes     = []struct{ title, symbol string }{
		{"Winter blend", "COFFEE"}, {"Espresso for the corner bar", "COFFEE"}, {"Single origin, washed", "COFFEE"},
		{"Dark 72 % couverture", "COCOA"}, {"Nibs for the granola people", "COCOA"}, {"Truffle season", "COCOA"},
		{"Black pepper, whole", "PEPPER"}, {"Red pepper for the tasting menu", "PEPPER"},
		{"Pods for the pastry school", "VANILLA"}, {"Extract, second pressing", "VANILLA"},
	}
	approvals  = []string{"", "", "Good price, go.", "Within budget.", "As agreed on Monday."}
	rejections = []string{"We still have plenty.", "Too much for one week.", "Ask again after the harvest.", ""}
)
