"""The example and the Makefile beside the C of an exported team."""

from __future__ import annotations

from tutelage.deploy.contract import Contract


def example(contract: Contract) -> str:
    """main.c: reads a line of numbers for each agent, step by step, and prints the actions."""
    name, upper = contract["name"], contract["name"].upper()
    talks = contract["messages"] is not None
    width, actions = contract["observation"]["width"], contract["actions"]["count"]
    agents = len(contract["agents"])
    hears = f"""        for (i = 0; i < {upper}_AGENTS; i++) {{
            const float *messages[{upper}_AGENTS];
            int count = 0;
            for (j = 0; j < {upper}_AGENTS; j++)
                if (numbers[i][{width + actions} + j] != 0.0f) messages[count++] = team[j].message;
            {name}_hear(&team[i], messages, count);
        }}
""" if talks else ""  # fmt: skip
    links = f", {agents} of 0 or 1: which agents it hears in this step" if talks else ""
    numbers = width + actions + (agents if talks else 0)
    return f"""/* A program to try the team with; it reads lines. Every step it reads a line for each agent, with
   {numbers} numbers: {width}, its observation; {actions} of 0 or 1, which actions it may take{links}.
   Then it prints the actions in a line. An empty line begins a new episode. */
#include <stdio.h>
#include <stdlib.h>

#include "{name}.h"

#define NUMBERS {numbers}

static {name}_agent team[{upper}_AGENTS];
static float numbers[{upper}_AGENTS][NUMBERS];
static char line[NUMBERS * 32];

/* Reads a line of numbers. Returns how many; -1 where there is no line. */
static int read_numbers(float *into) {{
    int count = 0;
    char *place = line, *next;
    if (!fgets(line, (int)sizeof line, stdin)) return -1;
    for (;; count++, place = next) {{
        const float x = strtof(place, &next);
        if (next == place) return count;
        if (count < NUMBERS) into[count] = x;
    }}
}}

static void reset_all(void) {{
    int i;
    for (i = 0; i < {upper}_AGENTS; i++) {name}_reset(&team[i], i);
}}

int main(void) {{
    unsigned char available[{upper}_ACTIONS];
    int i, j, count, action;

    reset_all();
    for (;;) {{
        for (i = 0; i < {upper}_AGENTS; i++) {{
            count = read_numbers(numbers[i]);
            while (i == 0 && count == 0) {{
                reset_all();
                count = read_numbers(numbers[i]);
            }}
            if (count < 0) return i != 0;
            if (count != NUMBERS) {{
                fprintf(stderr, "agent %d: %d numbers in a line, must be %d\\n", i, count, NUMBERS);
                return 2;
            }}
            for (j = 0; j < {upper}_ACTIONS; j++) available[j] = numbers[i][{width} + j] != 0.0f;
            /* The last argument decides draws; a team that takes the best action does not read it. */
            action = {name}_act(&team[i], numbers[i], {upper}_OBSERVATION, available, 0.5f);
            if (action < 0) {{
                fprintf(stderr, "agent %d: refused with code %d\\n", i, action);
                return 2;
            }}
            printf(i ? " %d" : "%d", action);
        }}
        printf("\\n");
{hears}    }}
}}
"""


def makefile(name: str, networks: int, math: bool) -> str:
    """Builds the example."""
    table = f"; `make clean example CPPFLAGS=-D{name.upper()}_TABLE LDLIBS=` needs no math.h"
    objects = " ".join([f"{name}.o", *(f"{name}_{i}.o" for i in range(networks))])
    return f"""# `make` builds the example{table if math else ""}.
CC ?= cc
CFLAGS ?= -std=c99 -O3 -Wall -Wextra -Wpedantic -Werror
LDLIBS ?= {"-lm" if math else ""}
OBJECTS = {objects}

example: main.o $(OBJECTS)
\t$(CC) $(CFLAGS) $(LDFLAGS) -o $@ main.o $(OBJECTS) $(LDLIBS)

%.o: %.c
\t$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

clean:
\trm -f example main.o $(OBJECTS)

.PHONY: clean
"""
