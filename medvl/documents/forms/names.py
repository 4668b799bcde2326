"""Names of people, streets, towns and facilities; every combination of them is invented."""

from __future__ import annotations


def _words(text: str) -> list[str]:
    return text.split()


GIVEN_F = _words("""
Abigail Ada Adaeze Agnieszka Aisha Aiyana Akiko Alejandra Alice Amara Amelia Amina Ana Anaïs Ananya Anja Ashley Astrid
Audrey Ayesha Barbara Beatriz Bernice Bianca Birgit Brenda Brianna Carla Carmen Carol Catherine Cécile Chantal Charlotte
Chiara Chidinma Chloé Christine Claire Consuelo Danielle Daria Deborah Diane Dolores Donna Doris Edith Eileen Ekaterina
Eleanor Elena Elif Elizabeth Emily Esperanza Esther Evelyn Fatima Fiona Florence Frances Françoise Freya Gabriela Gloria
Grace Greta Guadalupe Hannah Harriet Hazel Heather Helen Hiroko Hye-jin Ines Ingrid Irene Irina Isabel Jacqueline Jane
Janet Jasmine Jennifer Jessica Joan Johanna Joyce Judith Julia Kaitlyn Karen Katarzyna Katherine Keisha Kiran Kristin
Lakshmi Latoya Laura Leila Linda Ling Lorraine Lucía Lucille Mabel Magdalena Maggie Mai Margaret María Marie-Claire
Marisol Martha Mary Maureen Mei Melissa Mercedes Meredith Michelle Mildred Miriam Monique Nadia Nancy Naomi Natalia
Ngozi Nicole Niamh Noor Nora Olga Olivia Pamela Patience Patricia Paula Pauline Phyllis Pilar Precious Priya Rachel
Rania Rebecca Renata Rosa Rosalind Ruth Sakura Samantha Sandra Sangeeta Sarah Saoirse Shanice Sharon Shirley Siobhán
Sofía Sonia Stella Stephanie Sunita Susan Svetlana Sylvia Tamika Tatiana Teresa Thandiwe Thelma Thuy Valentina Vera
Veronica Victoria Violet Virginia Vivian Wanda Wei Wilhelmina Xiomara Yasmin Yolanda Yuki Yvonne Zahra Zainab Zoë
""")

GIVEN_M = _words("""
Aaron Abdul Adam Adrián Ahmed Alan Albert Alejandro Alexander Alfred Ali Amadou Amir Andre Andrew Ángel Anthony Antonio
Arjun Arthur Arturo Barry Benjamin Bernard Björn Bogdan Bradley Brandon Brian Bruce Calvin Carl Carlos Cedric Cesar
Chad Charles Chen Chinedu Christopher Clarence Clifford Connor Craig Curtis Daniel Darius Darnell David Deepak Dennis
Derek Diego Dmitri Dominic Donald Douglas Duc Dwayne Earl Eduardo Edward Edwin Eli Emeka Emilio Enrique Eric Ernesto
Ethan Eugene Farid Felipe Fernando Floyd Francis Francisco François Frank Frederick Gabriel Garfield Gary George Gerald
Gerhard Giovanni Glenn Gordon Graham Gregory Guillermo Günther Gustavo Hamid Harold Harry Haruto Hassan Hector Henry
Herbert Hiroshi Howard Hugo Ibrahim Ignacio Igor Ivan Jack Jacob Jamal James Jason Javier Jean-Paul Jeffrey Jeremy
Jerome Jesús Joaquín John Jorge José Joseph Joshua Juan Julian Jürgen Kareem Keith Kenji Kenneth Kevin Khalid Kofi
Krzysztof Kwame Lamar Lars Lawrence Leonard Leroy Liam Lloyd Louis Luca Luis Magnus Malik Manuel Marcin Marcus Mario
Mark Martin Matthew Mehmet Michael Miguel Mikhail Minh Mohammed Morris Nathan Neil Nicholas Nikolai Nnamdi Norman Óscar
Oliver Omar Oscar Owen Patrick Paul Pavel Pedro Peter Philip Pierre Rafael Raj Ralph Ramón Randall Rashid Raymond
Reginald Ricardo Richard Robert Roberto Rodney Roger Roland Ronald Rubén Russell Ryan Salvador Samir Samuel Sanjay Saúl
Scott Sean Sergei Simon Stanley Stephen Steven Sung-min Suresh Terrence Theodore Thomas Timothy Tomasz Travis Trevor
Tyrone Vernon Víctor Vikram Vincent Vladimir Walter Warren Wayne Wesley William Winston Yosef Yusuf Zachary Zoltán
""")

FAMILY = _words("""
Abbott Abdi Abernathy Acosta Adams Adebayo Aguilar Ahmed Alexander Ali Allen Alvarez Andersson Andrews Armstrong Arnold
Atkins Bailey Baker Banerjee Banks Barnes Barrett Bauer Becker Begum Bell Bennett Bergström Bhatt Bianchi Bishop Blake
Blanchard Boateng Boyd Bradford Brennan Brewster Brooks Brown Bryant Burgess Burke Burnett Bui Butler Byrne Caldwell
Campbell Cannon Cárdenas Carlson Carpenter Carter Castillo Castro Chandler Chang Chapman Chavez Chen Cheung Choi
Chowdhury Christensen Clark Coleman Collins Conti Contreras Conway Cooper Cortés Costa Cox Crawford Crosby Cruz Cummings
Curtis Dahl Dalton Das Davenport Davies Dawson Delacroix Delgado Desai Diallo Diaz Dixon Dominguez Donovan Doyle Dubois
Duffy Duncan Dunlap Durand Eastman Edwards Eklund Ellison Emerson Eriksen Escobar Espinoza Evans Farrell Ferguson
Fernández Ferrari Fischer Fitzgerald Fleming Flores Foster Fournier Fowler Franklin Fraser Freeman Fuentes Fujimoto
Gallagher García Garner Garza Gibson Gill Gomez González Gordon Graham Grant Greene Griffith Gupta Gutiérrez Guzmán
Haddad Hale Hall Hamilton Hansen Hardy Harper Harrison Hayes Henderson Herrera Hill Hoang Hoffmann Holloway Hossain
Howard Huang Hubbard Hudson Hughes Huynh Ibarra Ibrahim Ingram Ito Ivanov Jackson Jacobs Jansen Jefferson Jenkins
Jensen Jiménez Johansson Johnson Jones Joshi Kamara Kang Kaplan Kapoor Kaur Kelley Kennedy Khan Kim King Klein Kowalski
Kozlov Krause Kumar Kuznetsov Lam Lambert Larsen Lawson Le Lee Lefebvre Leone Levine Lewis Li Lim Lindqvist Liu Lopez
Lozano Lund Lynch Lyons MacDonald Mahmoud Maldonado Malik Mancini Marino Marsh Martínez Mbeki McAllister McBride
McCarthy McKinney McLean Medina Mehta Mendoza Mensah Meyer Miller Mills Mitchell Mohamed Molina Montoya Moore Morales
Moreau Morgan Morrison Mueller Muñoz Murphy Mwangi Nair Nakamura Navarro Ndiaye Nelson Newman Nguyen Nielsen Nikolaidis
Novak Nowak Núñez Nwosu O'Brien O'Connor O'Donnell Obi Odom Ogden Okafor Okonkwo Oliveira Olsen Ortega Osei Owens Ozturk
Pacheco Padilla Page Park Parker Patel Patterson Pearson Peña Pereira Perez Perkins Petersen Petrov Pham Phillips Pierce
Popov Porter Powell Pratt Price Quinn Quintero Rahman Ramírez Ramsey Rao Reddy Reed Reyes Reynolds Ricci Richards Rivera
Robbins Roberts Rodriguez Rojas Romano Rosen Rossi Rousseau Roy Russell Rutherford Saito Salazar Salinas Sanchez Sanders
Santos Sato Schmidt Schneider Schultz Schwartz Scott Serrano Sharma Shaw Sheikh Shepherd Silva Simmons Singh Smith
Solomon Sørensen Soto Spencer Stafford Stein Stevenson Stone Sullivan Suzuki Svensson Swanson Szabó Tanaka Taylor
Thompson Thornton Torres Tran Tremblay Tucker Turner Underwood Valdez Vance Vargas Vasquez Vaughn Vega Vogel Volkov
Vu Wagner Walker Wallace Walsh Wang Ward Washington Watanabe Watkins Weaver Weber Weiss Wheeler Whitaker White Wilson
Winters Wolfe Wong Wood Wright Wu Yamamoto Yang Yates Yilmaz Young Zapata Zhang Zhou Zimmerman Żuk
""")

STREETS = _words("""
Alder Ash Aspen Bayview Beacon Birch Bridge Cedar Chapel Cherry Chestnut Church Clearwater College Cottage Court
Cypress Dogwood Elm Fairview Franklin Garden Glen Grove Hawthorne Hickory Highland Hillcrest Juniper Lakeview Laurel
Linden Locust Magnolia Main Maple Market Meadow Mill Mulberry Oak Orchard Park Pine Pleasant Poplar Prospect Ridge
River School Spring Spruce Summit Sunset Sycamore Valley Walnut Washington Willow Woodland
""")
STREET_KINDS = ("St", "Ave", "Rd", "Dr", "Ln", "Blvd", "Ct", "Way", "Terrace")
# Town, state, first three digits of its ZIP codes.
TOWNS = (
    ("Albany", "NY", 122), ("Amarillo", "TX", 791), ("Ann Arbor", "MI", 481), ("Asheville", "NC", 288),
    ("Bangor", "ME", 44), ("Baton Rouge", "LA", 708), ("Bellingham", "WA", 982), ("Boise", "ID", 837),
    ("Burlington", "VT", 54), ("Cedar Rapids", "IA", 524), ("Chattanooga", "TN", 374), ("Columbia", "MO", 652),
    ("Dayton", "OH", 454), ("Duluth", "MN", 558), ("Erie", "PA", 165), ("Eugene", "OR", 974), ("Fargo", "ND", 581),
    ("Flagstaff", "AZ", 860), ("Fort Wayne", "IN", 468), ("Fresno", "CA", 937), ("Green Bay", "WI", 543),
    ("Hartford", "CT", 61), ("Huntsville", "AL", 358), ("Laramie", "WY", 820), ("Lexington", "KY", 405),
    ("Lincoln", "NE", 685), ("Macon", "GA", 312), ("Missoula", "MT", 598), ("Peoria", "IL", 616),
    ("Portland", "ME", 41), ("Pueblo", "CO", 810), ("Reno", "NV", 895), ("Roanoke", "VA", 240), ("Salem", "OR", 973),
    ("Savannah", "GA", 314), ("Sioux Falls", "SD", 571), ("Spokane", "WA", 992), ("Springfield", "MA", 11),
    ("Tallahassee", "FL", 323), ("Topeka", "KS", 666), ("Trenton", "NJ", 86), ("Tucson", "AZ", 857),
    ("Tulsa", "OK", 741), ("Wichita", "KS", 672), ("Worcester", "MA", 16), ("Yakima", "WA", 989),
)  # fmt: skip

PLACES = (
    """
Ashgrove|Bayside|Blue Ridge|Brookfield|Cedar Hill|Clearwater|Copper Canyon|Crestwood|Eastgate|Elmhurst|Fairhaven
Foxglove|Glenmoor|Golden Valley|Granite Falls|Greenfield|Harbor Point|Hawthorne|Highland|Holy Family|Iron Range
Kingsbridge|Lakeshore|Lone Pine|Maplewood|Meridian|Millbrook|Northfield|Northstar|Oak Hollow|Old Mill|Pinecrest
Prairie View|Queensway|Redwood|Ridgeline|Riverbend|Rosewood|Saint Brigid|Saint Anselm|Saltmarsh|Silver Lake|Southport
Stonebridge|Sunnyside|Tamarack|Three Rivers|Twin Oaks|Union Square|Valley Forge|Westbrook|Whitestone|Willow Creek
""".replace("\n", "|")
    .strip("|")
    .split("|")
)
CLINICS = (
    "Family Medicine", "Internal Medicine", "Primary Care", "Medical Group", "Clinic", "Health Center",
    "Community Health", "Medical Associates", "Physicians", "Family Practice",
)  # fmt: skip
HOSPITALS = (
    "Hospital", "Medical Center", "General Hospital", "Regional Medical Center", "Memorial Hospital",
    "University Hospital", "Community Hospital",
)  # fmt: skip
