ipvsadm -A -u 192.0.2.10:80 -s rr
ipvsadm -a -u 192.0.2.10:80 -r 198.51.100.11:80 -m
ipvsadm -A -u 192.0.2.10:81 -s rr
ipvsadm -a -u 192.0.2.10:81 -r 198.51.100.12:81 -g
ipvsadm -A -u 192.0.2.10:82 -s rr
ipvsadm -a -u 192.0.2.10:82 -r 198.51.100.13:82 -i
ipvsadm -A -u 192.0.2.10:83 -s rr
ipvsadm -a -u 192.0.2.10:83 -r 198.51.100.14:83 -i --tun-type gre
ipvsadm -A -u 192.0.2.10:84 -s rr
ipvsadm -a -u 192.0.2.10:84 -r [2001:db8:2::15]:84 -i
ipvsadm -A -u [2001:db8:1::10]:80 -s rr
ipvsadm -a -u [2001:db8:1::10]:80 -r [2001:db8:2::11]:80 -m
ipvsadm -A -u [2001:db8:1::10]:81 -s rr
ipvsadm -a -u [2001:db8:1::10]:81 -r [2001:db8:2::12]:81 -g
ipvsadm -A -u [2001:db8:1::10]:82 -s rr
ipvsadm -a -u [2001:db8:1::10]:82 -r [2001:db8:2::13]:82 -i
ipvsadm -A -u [2001:db8:1::10]:83 -s rr
ipvsadm -a -u [2001:db8:1::10]:83 -r [2001:db8:2::14]:83 -i --tun-type gre
ipvsadm -A -u [2001:db8:1::10]:84 -s rr
ipvsadm -a -u [2001:db8:1::10]:84 -r 198.51.100.15:84 -i
