// Command reach tells by its exit code whether a URL answers 200, through
// whatever proxy the environment names.
package main

import (
	"fmt"
	"net/http"
	"os"
	"time"
)

func main() {
	client := http.Client{Timeout: 20 * time.Second}
	response, err := client.Get(os.Args[1])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		fmt.Println(os.Args[1], "answers", response.Status)
		os.Exit(1)
	}
}
