#include "scene.h"

#include <stdio.h>

int main(void)
{
    scene_t scene;
    char line[128], text[SHAPE2_TEXT_MAX];

    scene_init(&scene);
    while (fgets(line, sizeof line, stdin)) {
        shape2_t shape;
        if (shape2_parse(&shape, line) != 0 || scene_add(&scene, &shape) != 0) {
            fprintf(stderr, "shapes: cannot take: %s", line);
            return 1;
        }
        shape2_format(&shape, text, sizeof text);
        printf("%-20s area %.3f perimeter %.3f\n", text, shape2_area(&shape), shape2_perimeter(&shape));
    }
    printf("total area %.3f\n", scene_area(&scene));
    return 0;
}
