#include "shape.h"

#include <stdio.h>
#include <string.h>

int shape2_parse(shape2_t *out, const char *text)
{
    char kind[16];
    double a = 0, b = 0, c = 0;
    int found = sscanf(text, "%15s %lf %lf %lf", kind, &a, &b, &c);

    if (found == 2 && strcmp(kind, "circle") == 0)
        return shape2_circle(out, a);
    if (found == 3 && strcmp(kind, "rect") == 0)
        return shape2_rect(out, a, b);
    if (found == 4 && strcmp(kind, "triangle") == 0)
        return shape2_triangle(out, a, b, c);
    return -1;
}
